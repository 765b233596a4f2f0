"""The ancestors of a process, as ``/proc`` shows them."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import NamedTuple


class Birth(NamedTuple):
    """The parent and the start time of a process."""

    parent: int
    started: int
    """Clock ticks since boot."""


def birth(pid: int) -> Birth:
    """Return the parent and the start time of a process; raises `OSError` if it has ended or ``/proc`` hides it."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # the name may contain anything
    return Birth(int(fields[1]), int(fields[19]))


def ticks() -> int:
    """Return the time since boot in the unit of `Birth.started`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def descends(pid: int, ancestor: int) -> bool:
    """Return whether ``pid`` is ``ancestor`` or its descendant; raises `OSError` if that is unknown.

    ``ancestor`` must be the reaper of its orphans (`Orphans`). Otherwise a descendant whose parents have ended would
    have the init process as its parent.
    """
    child_started: float = math.inf
    while pid > 1:
        if pid == ancestor:
            return True
        parent, started = birth(pid)
        if started > child_started:  # the parent has ended and another process has its pid
            raise ProcessLookupError(f"process {pid} is younger than its child")
        pid, child_started = parent, started
    return pid == ancestor


def filters(pid: int | str) -> int:
    """Return the number of seccomp filters of a process, 1 for any number before Linux 5.9; raises `OSError`."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines())
    found = {words[0]: words[1] for words in lines if words and words[0] in ("Seccomp:", "Seccomp_filters:")}
    return int(found.get("Seccomp_filters:", int(found.get("Seccomp:", "0") != "0")))
