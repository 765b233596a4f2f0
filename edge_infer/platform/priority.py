"""Priority of a process for the processor, and for the kernel when memory is short."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final


def take_lowest() -> None:
    """Let this process run only when no other needs the processor; later threads and child processes inherit this."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


_first: Final[list[int]] = []
"""This process, once it is the first choice."""


def go_first(pid: int | None = None) -> None:
    """Make a process the first choice of the kernel's out-of-memory killer, so that the engine survives.

    It is this process, whose later children inherit it, or a child. Call it right after the start of a child: until the
    child has loaded its modules and could do so itself, the kernel would kill the engine, which is larger.
    """
    if _first:  # the child has inherited it; and this process may be in a sandbox that forbids the file
        return
    if pid is None:
        _first.append(os.getpid())
    with suppress(OSError):  # a container may mount it read-only; then the kernel's own choice applies
        Path(f"/proc/{'self' if pid is None else pid}/oom_score_adj").write_text("1000", encoding="ascii")
