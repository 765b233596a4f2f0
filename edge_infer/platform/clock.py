"""Ids of starts of the engine and the kernel, time since the kernel started, and synchronization of the clock."""

from __future__ import annotations

import ctypes
import hashlib
import secrets
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError

# Ids of starts of the engine and of the kernel, and the time since the kernel started.

_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")
_TAG: Final = 6
"""Number of leading hex digits that all engine ids of one kernel start share. Two kernel starts collide with odds of 1
to 16 million."""


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
            f"{_KERNEL} cannot be read ({error.strerror}), which identifies the boot in which a message was made: "
            "remove ProcSubset=pid from the unit and its drop-ins (systemctl edit edge-infer), or mount all of "
            "/proc"
        ) from error


CLOCK_SET: Final = 0.1
"""Seconds by which a clock must go back to count as set. A smaller step comes from a thread that was interrupted
between two readings."""


class ConvertedClock:
    """Converts times of the clock ``base`` to the clock ``shown`` and keeps their order, unless a clock is set.

    A thread that is interrupted between its readings of the two clocks measures a difference that is too small. So the
    largest difference is right.
    """

    def __init__(self, shown: Callable[[], float], base: Callable[[], float]) -> None:
        self._shown = shown
        self._base = base
        self._ahead: float | None = None

    def at(self, moment: float) -> float:
        """Return the time of the clock ``shown`` at the time ``moment`` of the clock ``base``."""
        ahead = self._shown() - self._base()
        if self._ahead is not None and self._ahead - ahead >= CLOCK_SET:  # set, or a long interruption
            ahead = max(ahead, self._shown() - self._base())
        if self._ahead is None or not 0 <= self._ahead - ahead < CLOCK_SET:
            self._ahead = ahead
        return moment + self._ahead


@cache
def _boot_time() -> ConvertedClock:
    """Return the single instance of this process, because it learns the difference of the two clocks."""
    return ConvertedClock(lambda: time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic)


def uptime(monotonic: float | None = None) -> float:
    """Return the seconds since the kernel started, including suspend, now or at a moment of the monotonic clock.

    A suspend between that moment and now is counted as if it had happened before the moment. A moment before the start
    of the kernel counts as that start.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if monotonic is None else max(0.0, _boot_time().at(monotonic))


# Detect whether the clock of the board is synchronized.

MADE: Final = 1764000000.0
"""A time on 24 November 2025, in seconds since the epoch. A correct clock never shows an earlier time."""
_TIME_ERROR: Final = 5
"""Return value of adjtimex(2) while the clock is not synchronized."""
_TIMESYNCD: Final = "run/systemd/timesync/synchronized"
"""File that systemd-timesyncd creates when it first sets the clock after the kernel started."""


def synchronised(root: Path = Path("/")) -> bool | None:
    """Return whether a time service has set the clock; None if that is unknown.

    With ``ProtectClock=`` in a unit it is unknown, because that forbids adjtimex(2), which both reads and sets the
    clock.
    """
    if (root / _TIMESYNCD).exists():
        return True
    # All zero means "only read"; struct timex has less than 256 bytes on every machine.
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    return None if state < 0 else state != _TIME_ERROR
