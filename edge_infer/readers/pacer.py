"""At most so many frames a second."""

from __future__ import annotations

from typing import Final

EARLY: Final = 0.3
"""The share of an interval by which a frame may be early. With a half, every other frame of a source would come just at
the border, where jitter decides."""


class Pacer:
    """Says which frames of a source to take, so that on average at most ``fps`` a second pass.

    Turns come at equal intervals. The first frame from a little before its turn on passes: whoever waits for
    one gets a fresh one, and a source of exactly ``fps`` loses nothing to jitter. ``fps`` None lets everything pass.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self.most: float | None = None
        """How many a second may pass now; None: all."""
        self._interval = 0.0
        self.restrain(None)
        self._next: float | None = None
        """The earliest moment at which the next frame passes."""

    def restrain(self, most: float | None) -> None:
        """From now on at most ``most`` a second, where ``fps`` is not less; None lets ``fps`` alone hold again.

        May be called in another thread than the others.
        """
        self.most = min((limit for limit in (self._fps, most) if limit), default=None)
        self._interval = 1 / self.most if self.most else 0.0

    def due(self, now: float) -> bool:
        """True when a frame captured at ``now`` (seconds of the monotonic clock) is to be taken."""
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
        """Seconds until a frame is due; 0 when one is."""
        return 0.0 if self._next is None else max(0.0, self._next - now)
