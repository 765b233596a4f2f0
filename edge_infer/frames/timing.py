"""Timing of frames: a limit of their rate, their usual interval, and gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# Limit of the frame rate.

EARLY: Final = 0.3
"""Share of an interval by which a frame may be early. With one half, every second frame of a source could be exactly at
the limit, where jitter decides."""


class Pacer:
    """Selects frames of a source so that on average at most ``fps`` per second pass.

    Turns come at equal intervals. From slightly before each turn on, the first frame passes. A consumer therefore gets
    a fresh frame, and a source with exactly ``fps`` loses no frame because of jitter. If ``fps`` is None, all frames
    pass.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self.most: float | None = None
        """Current limit in frames per second; None: no limit."""
        self._interval = 0.0
        self.restrain(None)
        self._next: float | None = None
        """Earliest monotonic time at which the next frame passes."""

    def restrain(self, most: float | None) -> None:
        """Limit the rate to ``most`` if that is lower than ``fps``; None restores ``fps``.

        This method may be called in a thread other than the thread of the other methods.
        """
        self.most = min((limit for limit in (self._fps, most) if limit), default=None)
        self._interval = 1 / self.most if self.most else 0.0

    def due(self, now: float) -> bool:
        """Return whether to take a frame captured at ``now`` (seconds of the monotonic clock)."""
        if not self._interval:
            return True
        if self._next is not None and now < self._next:
            return False
        interval = self._interval
        early = EARLY * interval
        turn = now if self._next is None else self._next + early
        self._next = max(turn + interval, now) - early
        return True

    def left(self, now: float) -> float:
        """Return the seconds until the next frame is due; 0 when one is due."""
        return 0.0 if self._next is None else max(0.0, self._next - now)


# Usual frame interval, and the part of a longer gap that counts as missed time.

USUAL_GAIN: Final = 0.1
PAUSE: Final = 1.5
"""Maximum missed time, in usual intervals; the rest of a longer interval counts as a pause."""
GAP: Final = 2.5
"""Length of a gap, in usual intervals, above which the whole path of an object predicts its position, not only its last
steps."""
FORESIGHT: Final = 1.0
"""Maximum seconds of prediction from one frame to the next, because motion between slow pictures is unknown."""


@dataclass(slots=True)
class FrameInterval:
    """Timing of frames. ``now`` is the time of the last frame, ``step`` the seconds before it that count as missed.

    ``ahead`` is the prediction step in seconds; ``gap``: there was a pause before the frame.
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
