"""Exit statuses of processes in words; negative statuses are signals."""

from __future__ import annotations

import signal
from typing import Final

OUT_OF_MEMORY: Final = (
    " (if nobody sent it, the kernel did for lack of memory: see journalctl -k, and MemoryMax= of the service)"
)


def death(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def unexpected_death(status: int) -> str:
    """Return the status of a process that this program did not kill, with a hint at memory for the kernel's signal."""
    return death(status) + (OUT_OF_MEMORY if status == -signal.SIGKILL else "")
