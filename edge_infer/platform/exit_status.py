"""Exit statuses of processes in words; negative statuses are signals."""

from __future__ import annotations

import signal
from typing import Final

_WHERE: Final = "see journalctl -k, and MemoryMax= of the service"
PERHAPS_MEMORY: Final = f" (if nobody sent it, the kernel did for lack of memory: {_WHERE})"
FOR_MEMORY: Final = f" (by the kernel, for lack of memory: {_WHERE})"


def death(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def unexpected_death(status: int, *, for_memory: bool | None = None) -> str:
    """Return the status of a process that this program did not kill, with a hint at memory for the kernel's signal.

    ``for_memory`` is whether the kernel killed it for lack of memory; None if that is unknown.
    """
    if status != -signal.SIGKILL or for_memory is False:
        return death(status)
    return death(status) + (FOR_MEMORY if for_memory else PERHAPS_MEMORY)
