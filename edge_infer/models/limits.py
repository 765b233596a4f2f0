"""How little a process has to work with that tries what others made."""

from __future__ import annotations

import math
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.models.files import LARGEST_MODEL

ROOM: Final = 768 << 20
"""Bytes of address space for a model beyond what is mapped after all imports (which is mostly never touched), at most.

YOLOv5n at 640x640, the largest of a public collection of 27, takes 52 MB more.
"""
LAST_SECONDS: Final = 2
"""Of computing time, in which a process that computes without end may ignore the signal that tells it so."""
FILES: Final = 64
"""Open files."""
LOWEST: Final = 19
"""Of all priorities."""
PER_BYTE: Final = 4
"""Bytes of address space for each byte of a model file: its content, a copy in the runtime, and packed weights."""


def go_first() -> None:
    """Should the board run out of memory, this process is the one to end, not the engine."""
    with suppress(OSError):  # a container may show it read-only; then the kernel's own choice is as good as any
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def give_way() -> None:
    """Whoever else wants the processor has it before this process and those of its session.

    Many kernels share time out among sessions first, and weigh priorities only within one.
    """
    os.nice(LOWEST)
    with suppress(OSError):  # a kernel that does not is the better for it
        Path("/proc/self/autogroup").write_text(str(LOWEST), encoding="ascii")


def limit(size: int, seconds: float, threads: int = 1, files: int = 0) -> None:
    """Bounds memory, computing time, files and processes for a model file of this ``size`` in bytes.

    The parent's clock bounds everything else. So many ``files`` are open already. With ``threads`` more than one it may
    start some: then their number has no bound but the memory that they take.
    """
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = min(ROOM, os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() // 2) + PER_BYTE * size
    _bound(resource.RLIMIT_AS, mapped + room)
    _bound(resource.RLIMIT_FSIZE, LARGEST_MODEL)
    _bound(resource.RLIMIT_NOFILE, FILES + files)
    if threads == 1:
        _bound(resource.RLIMIT_NPROC, 0)  # no more than there are; root's are not counted
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime + seconds * threads)
    _bound(resource.RLIMIT_CPU, most, most + LAST_SECONDS)


def _bound(limit: int, most: int, last: int | None = None) -> None:
    """At most so much, for ever and within what the daemon itself may have; beyond ``last`` the process is killed."""
    hard = resource.getrlimit(limit)[1]
    soft, end = most, most if last is None else last
    if hard != resource.RLIM_INFINITY:
        soft, end = min(soft, hard), min(end, hard)
    resource.setrlimit(limit, (soft, end))
