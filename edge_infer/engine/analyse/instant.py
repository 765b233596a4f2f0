"""Time of a sighting on both clocks."""

from __future__ import annotations

from typing import Final, NamedTuple

JUMP: Final = 0.5
"""Drift in seconds between wall clock and monotonic clock that counts as a clock jump."""
ROUNDING: Final = 0.001
"""Tolerance of frame times in seconds."""
BELIEVED: Final = 2.0
"""Seconds after which a sighting that every look confirmed is assumed to last, however long its report still takes."""


class Instant(NamedTuple):
    """``moment`` is for durations (seconds of a monotonic clock), ``wall`` for people (seconds since the epoch)."""

    moment: float
    wall: float

    def of(self, earlier: Instant) -> float:
        """Return the wall time of an earlier instant according to the clock of this one.

        A board without a battery clock sets its clock late. The elapsed time stays right, so the earlier time is
        corrected.
        """
        elapsed = self.moment - earlier.moment
        jump = self.wall - earlier.wall - elapsed
        return earlier.wall if abs(jump) < JUMP else self.wall - elapsed
