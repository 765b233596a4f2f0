"""CPU and memory use of processes from /proc, which shows it for protected processes too (see proc_pid_stat(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Use:
    """``cpu``: share of one processor since the last look, None at the first; ``memory``: bytes."""

    cpu: float | None
    memory: int


class Processes:
    """Measures the use of processes repeatedly; ended processes have none."""

    def __init__(self, root: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._tick = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._last: dict[int, tuple[float, float]] = {}

    def look(self, pids: list[int]) -> dict[int, Use]:
        """Return the current use of each process."""
        found, seen, now = {}, {}, self._clock()
        for pid in pids:
            if (numbers := self._numbers(pid)) is None:
                continue
            seconds, memory = numbers
            before, at = self._last.get(pid, (seconds, now))
            found[pid] = Use((seconds - before) / (now - at) if now > at else None, memory)
            seen[pid] = seconds, now
        self._last = seen
        return found

    def _numbers(self, pid: int) -> tuple[float, int] | None:
        """Return seconds of processor time so far, and bytes in memory."""
        try:
            words = (self._root / str(pid) / "stat").read_text().rpartition(")")[2].split()
            return (int(words[11]) + int(words[12])) / self._tick, int(words[21]) * self._page
        except (OSError, ValueError, IndexError):
            return None
