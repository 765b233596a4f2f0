"""Priority of this process."""

from __future__ import annotations

import os
from contextlib import suppress


def take_lowest() -> None:
    """Let this process run only when no other needs the processor; later threads and child processes inherit this."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
