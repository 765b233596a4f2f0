"""Identify starts of the engine and of the kernel, and measure the time since the kernel started."""

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
"""Leading hex digits that all engine ids of one kernel start share. Two starts collide with odds of 1 to 16 million."""


def new_boot() -> str:
    """Return a random id for one start of the engine; its first digits identify the kernel start on this board."""
    return kernel_tag() + secrets.token_hex(4)


def of_this_kernel(boot: str) -> bool:
    """Return whether that engine ran since the kernel started, so that its uptimes convert to the time of day."""
    return len(boot) > _TAG and boot.startswith(kernel_tag())


@cache
def kernel_tag() -> str:
    """Return a hash of the kernel's random boot id, which does not reveal that id; raises `StartError`."""
    try:
        return hashlib.sha256(_KERNEL.read_bytes()).hexdigest()[:_TAG]
    except OSError as error:
        raise StartError(
            f"{_KERNEL} cannot be read ({error.strerror}), which tells under which start of the kernel a message was "
            "made: remove ProcSubset=pid from the unit and its drop-ins (systemctl edit edge-infer), mount all of /proc"
        ) from error


def uptime(monotonic: float | None = None) -> float:
    """Return the seconds since the kernel started, including suspend, now or at a moment of the monotonic clock.

    A suspend between that moment and now is counted as if it had been before the moment.
    """
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now if monotonic is None else now - time.clock_gettime(time.CLOCK_MONOTONIC) + monotonic
