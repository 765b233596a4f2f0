"""Usual frame interval, and the share of a longer gap that counts as missed time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

USUAL_GAIN: Final = 0.1
PAUSE: Final = 1.5
"""Usual intervals that count at most as missed time; the rest of a longer interval is a pause."""
GAP: Final = 2.5
"""Usual intervals above which the whole path of an object predicts its place instead of its last steps."""
FORESIGHT: Final = 1.0
"""Maximum seconds of prediction from one frame to the next; motion between slow pictures is unknown."""


@dataclass(slots=True)
class Pace:
    """Timing of frames; ``now`` is the moment of the last frame, ``step`` the seconds before it counted as missed.

    ``ahead`` is the prediction step in seconds, ``gap`` whether a pause preceded the frame.
    """

    now: float = -math.inf
    usual: float = 0.0
    step: float = 0.0
    ahead: float = 0.0
    gap: bool = False

    def frame(self, moment: float) -> None:
        """Update the timing with the next frame."""
        interval = max(0.0, moment - self.now)
        self.ahead = min(interval, FORESIGHT)
        interval = interval if math.isfinite(self.now) else 0.0
        self.usual += (interval - self.usual) * (USUAL_GAIN if self.usual else 1.0)
        self.step = min(interval, PAUSE * self.usual)
        self.gap = interval > GAP * self.usual
        self.now = moment
