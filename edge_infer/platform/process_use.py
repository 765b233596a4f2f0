"""Reads how much processor time and memory processes use."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.platform.board import text_of
from edge_infer.platform.clock import uptime

EVERY: Final = 15.0
"""Seconds between two readings. For each reading the kernel walks all pages of the process."""

_CPUCLOCK_SCHED: Final = 2
"""The clock of a process has the id that clock_getcpuclockid(3) calculates from its pid; Python lacks this function."""


def use_of(pid: int, proc: Path = Path("/proc")) -> tuple[float, int] | None:
    """Return the seconds of processor time and the resident bytes of a process; None if it has ended.

    The kernel shows these numbers for protected processes, too (see proc_pid_stat(5)). If ``/proc`` is mounted with
    ``hidepid``, the result is None.
    """
    words = text_of(proc / str(pid) / "stat").rpartition(")")[2].split()
    try:
        seconds = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return seconds, int(words[21]) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, IndexError):
        return None


def processor_time(pid: int) -> float | None:
    """Return the seconds of processor time of a process, also if ``/proc`` hides it; None if it has ended."""
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    return None


class OwnUse:
    """Measures this process itself, because the processes are protected from each other and the unit hides them.

    The memory is the proportional set size: the process's own pages, and a share of the pages that others use, too.
    """

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._file = root / "proc/self/smaps_rollup"
        self._clock = clock
        self._began = uptime()
        self._read_at = -math.inf
        self._pss = 0

    def read(self) -> tuple[float, float, int]:
        """Return the uptime at which counting began, the seconds of processor time, and the bytes of memory.

        The number for memory may be `EVERY` seconds old; it is 0 if the kernel does not report it.
        """
        return self._began, round(time.process_time(), 2), self._memory()

    def _memory(self) -> int:
        now = self._clock()
        if now - self._read_at >= EVERY:
            self._read_at = now
            words = next((line.split() for line in text_of(self._file).splitlines() if line.startswith("Pss:")), [])
            self._pss = int(words[1]) * 1024 if words[1:2] and words[1].isdigit() else 0
        return self._pss
