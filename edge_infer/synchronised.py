"""Detect whether the clock of the board is synchronized."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

MADE: Final = 1764000000.0
"""A moment in November 2025, in seconds since the epoch; a correct clock shows no less."""
_TIME_ERROR: Final = 5
"""Return value of adjtimex(2) while the clock is not synchronized."""
_TIMESYNCD: Final = "run/systemd/timesync/synchronized"
"""File that systemd-timesyncd creates when it first sets the clock after the kernel started."""


def synchronised(root: Path = Path("/")) -> bool | None:
    """Return whether a time service has set the clock; None if that is unknown.

    ``ProtectClock=`` in a unit makes it unknown: it forbids adjtimex(2), which both reads and sets the clock.
    """
    if (root / _TIMESYNCD).exists():
        return True
    # All zero means "only read"; struct timex has less than 256 bytes on every machine.
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    return None if state < 0 else state != _TIME_ERROR
