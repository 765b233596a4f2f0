"""At most so many frames a second."""

from __future__ import annotations


class Pacer:
    """Says which frames of a source to take, so that on average at most ``fps`` a second pass.

    A frame that comes a little early does not pass and the next one then makes up for it, so a source of exactly
    ``fps`` loses next to nothing to jitter. ``fps`` None lets everything pass.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval = 1 / fps if fps else 0.0
        self._next: float | None = None

    def due(self, now: float) -> bool:
        """True when a frame captured at ``now`` (seconds of the monotonic clock) is to be taken."""
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._interval if self._next is None else max(self._next + self._interval, now)
        return True

    def left(self, now: float) -> float:
        """Seconds until a frame is due; 0 when one is."""
        return 0.0 if self._next is None else max(0.0, self._next - now)

    def delay(self, now: float) -> float:
        """Seconds from ``now`` until the next frame is due."""
        return 0.0 if self._next is None else max(0.0, self._next - now)
