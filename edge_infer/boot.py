"""Starts of the kernel and of the engine: which boot a message is of, and how long ago its kernel started."""

from __future__ import annotations

import hashlib
import secrets
import time
from functools import cache
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError

_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")
_TAG: Final = 6
"""Hex digits that all boots of the engine under one kernel begin with: one in 16 million is mistaken."""


def new_boot() -> str:
    """A random id for one start of the engine; its first digits tell this board alone under which kernel that was."""
    return kernel_tag() + secrets.token_hex(4)


def of_this_kernel(boot: str) -> bool:
    """Whether that engine ran since the kernel started: uptimes that it spoke of can be told as time of day."""
    return len(boot) > _TAG and boot.startswith(kernel_tag())


@cache
def kernel_tag() -> str:
    """A hash of the kernel's own random boot id, of which nothing can be guessed from it; raises `StartError`."""
    try:
        return hashlib.sha256(_KERNEL.read_bytes()).hexdigest()[:_TAG]
    except OSError as error:
        raise StartError(
            f"{_KERNEL} cannot be read ({error.strerror}), which tells under which start of the kernel a message was "
            "made: remove ProcSubset=pid from the unit and its drop-ins (systemctl edit edge-infer), mount all of /proc"
        ) from error


def uptime(monotonic: float | None = None) -> float:
    """Seconds since the kernel started, time asleep included, now or at a moment of the monotonic clock.

    A suspension between then and now counts as before the moment.
    """
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now if monotonic is None else now - time.clock_gettime(time.CLOCK_MONOTONIC) + monotonic
