"""Whether the clock of the board is right, as far as anybody on it can say."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

MADE: Final = 1764000000.0
"""Seconds since the epoch at a moment in November 2025: no clock that is right shows less."""
_TIME_ERROR: Final = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
_TIMESYNCD: Final = "run/systemd/timesync/synchronized"
"""A file that systemd-timesyncd makes when it has set the clock for the first time since the kernel started."""


def synchronised(root: Path = Path("/")) -> bool | None:
    """Whether a time service has set the clock; None when nobody says.

    The kernel is not asked in a unit with ``ProtectClock=``, which forbids the question with the change.
    """
    if (root / _TIMESYNCD).exists():
        return True
    # All zero means "only read"; struct timex has less than 256 bytes on every machine.
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    return None if state < 0 else state != _TIME_ERROR
