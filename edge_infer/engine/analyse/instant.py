"""When something was seen, on both clocks."""

from __future__ import annotations

from typing import Final, NamedTuple

JUMP: Final = 0.5
"""Seconds that the wall clock may drift against the other one before that counts as a jump."""
ROUNDING: Final = 0.001
"""Seconds that times of frames may be off."""
BELIEVED: Final = 2.0
"""Seconds after which what was seen in every look is believed to last, however long it has to until it is told."""


class Instant(NamedTuple):
    """``moment`` is for durations (seconds of a clock that never jumps), ``wall`` for people (since the epoch)."""

    moment: float
    wall: float

    def of(self, earlier: Instant) -> float:
        """The wall time of an earlier instant as the clock of this one tells it.

        A board without a battery clock finds its time late: what began before has begun as long ago as it did.
        """
        elapsed = self.moment - earlier.moment
        jump = self.wall - earlier.wall - elapsed
        return earlier.wall if abs(jump) < JUMP else self.wall - elapsed
