"""How far apart frames usually are, and how much of the time between two of them counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

USUAL_GAIN: Final = 0.1
PAUSE: Final = 1.5
"""Usual intervals between two frames; of a longer one no more than this is time in which an object was missed."""
GAP: Final = 2.5
"""Usual intervals from which on a longer one counts by the way that an object has gone, not by its last steps."""
FORESIGHT: Final = 1.0
"""Seconds that are looked ahead from one frame to the next; nobody knows where things go between slow pictures."""


@dataclass(slots=True)
class Pace:
    """``now`` is the moment of the last frame; ``step`` the seconds before it in which an object can have been missed.

    ``ahead`` are those by which everything is predicted, ``gap`` whether there was a pause before it.
    """

    now: float = -math.inf
    usual: float = 0.0
    step: float = 0.0
    ahead: float = 0.0
    gap: bool = False

    def frame(self, moment: float) -> None:
        """The next one."""
        interval = max(0.0, moment - self.now)
        self.ahead = min(interval, FORESIGHT)
        interval = interval if math.isfinite(self.now) else 0.0
        self.usual += (interval - self.usual) * (USUAL_GAIN if self.usual else 1.0)
        self.step = min(interval, PAUSE * self.usual)
        self.gap = interval > GAP * self.usual
        self.now = moment
