"""Resource limits of a process that runs untrusted models."""

from __future__ import annotations

import math
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.models.files import LARGEST_MODEL

ROOM: Final = 768 << 20
"""Maximum address space in bytes for a model, in addition to the mappings after all imports (mostly never touched).

YOLOv5n at 640x640, the largest of a public collection of 27, takes 52 MB more.
"""
LAST_SECONDS: Final = 2
"""Processor seconds between SIGXCPU, which an endless computation may ignore, and the kill."""
FILES: Final = 64
"""Maximum number of open files."""
LOWEST: Final = 19
"""The lowest priority (nice value)."""
PER_BYTE: Final = 4
"""Bytes of address space for each byte of a model file: its content, a copy in the runtime, and packed weights."""


def go_first() -> None:
    """Make this process the first victim of the kernel's out-of-memory killer, so that the engine survives."""
    with suppress(OSError):  # a container may mount it read-only; the kernel's default choice is acceptable then
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def give_way() -> None:
    """Give this process and its session the lowest priority for the processor.

    Many kernels first share time among sessions, and apply priorities only within one, so both are lowered.
    """
    os.nice(LOWEST)
    with suppress(OSError):  # a kernel without autogroups needs no second setting
        Path("/proc/self/autogroup").write_text(str(LOWEST), encoding="ascii")


def limit(size: int, seconds: float, threads: int = 1, files: int = 0) -> None:
    """Limit memory, processor time, files and processes for a model file of ``size`` bytes.

    The parent's timeout covers everything else. ``files`` is the number of open files. With ``threads`` above one the
    process may start threads; then only their memory limits their number.
    """
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = min(ROOM, os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() // 2) + PER_BYTE * size
    _bound(resource.RLIMIT_AS, mapped + room)
    _bound(resource.RLIMIT_FSIZE, LARGEST_MODEL)
    _bound(resource.RLIMIT_NOFILE, FILES + files)
    if threads == 1:
        _bound(resource.RLIMIT_NPROC, 0)  # no new threads; the kernel does not count those of root
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime + seconds * threads)
    _bound(resource.RLIMIT_CPU, most, most + LAST_SECONDS)


def _bound(limit: int, most: int, last: int | None = None) -> None:
    """Set a limit permanently, within the daemon's own limit; the kernel kills the process beyond ``last``."""
    hard = resource.getrlimit(limit)[1]
    soft, end = most, most if last is None else last
    if hard != resource.RLIM_INFINITY:
        soft, end = min(soft, hard), min(end, hard)
    resource.setrlimit(limit, (soft, end))
