"""On which side of a border something is, so that trembling on it is no crossing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_infer.engine.analyse.instant import ROUNDING, Instant

MARGIN: Final = 0.12
"""How far beyond a border a point has to be before it counts, as a share of the longer side of its box."""
FRAMES: Final = 3
"""In so many frames in a row at least."""
UNSEEN: Final = 2
"""Frames on a side that are enough for what had no side before, and for what is not seen afterwards."""


@dataclass(slots=True)
class Side:
    """``settled`` is the side (true: inside, or left) that holds; None until one is known.

    It changes when every look for ``span`` seconds, and at least `FRAMES` of them, found the point on the other side,
    the first `UNSEEN` of them beyond the margin; ``since`` is the first of these. What has no side yet needs no margin,
    and two frames. What is back before so many looks has been there if it was for ``span`` seconds on its way from one
    look to the next, and `UNSEEN` of them found it there: pictures may be far apart. ``changed`` is when it came to the
    side that holds, on that way.
    """

    settled: bool | None = None
    changed: Instant | None = None
    since: Instant | None = None
    leaning: bool | None = None
    looks: int = 0
    touched: bool = False
    """Whether the look before the first of these was on that side too, short of the margin."""
    farthest: float = -math.inf
    """The farthest that it came to the other side: pixels beyond the border, less than 0 where it came short of it."""
    margin: float = 0.0
    """How far that had to be, then."""
    longest: tuple[float, int] = (0.0, 0)
    """The longest that it was there, in seconds and in frames."""
    last: tuple[float, float] | None = None
    """When and how far from the border it was seen last."""
    over: float = 0.0
    """When it went to the other side, if it went straight from one look to the next."""

    def look(self, distance: float, margin: float, now: Instant, span: float) -> bool:
        """One look: ``distance`` to the border, positive on the true side. Whether the side has changed now."""
        beyond = -distance if self.settled else distance
        touched = self.last is not None and self.last[1] * distance > 0.0
        passed, self.last = self._passed(distance, now), (now.moment, distance)
        if beyond > self.farthest:
            self.farthest, self.margin = beyond, margin
        least = margin if self.settled is not None else 0.0
        side = True if distance > least else False if distance < -least else None
        if side is None and self.looks >= UNSEEN and (distance > 0.0) == self.leaning:
            side = self.leaning
        if side is None or side == self.settled:
            if self.cut_short() and beyond < 0.0 and passed - self.over >= span - ROUNDING:
                self._change()
                self.look(distance, margin, now, span)
                return True
            self.leaning, self.looks = None, 0
            return False
        if side != self.leaning:
            self.leaning, self.looks, self.since, self.over = side, 0, now, passed
            self.touched = touched
        self.looks += 1
        assert self.since is not None
        self.longest = max(self.longest, (now.moment - self.since.moment, self.looks))
        return self._settle(FRAMES if self.settled is not None else UNSEEN, now, span)

    def wait(self, now: Instant, span: float) -> bool:
        """A frame that does not show it: as far as anybody can tell it has not come back. Whether the side changed.

        Who went over the border in one look and beyond the margin in the next was there twice, and does not tremble.
        """
        return self.settled is not None and self._settle(UNSEEN - self.touched, now, span)

    def cut_short(self) -> bool:
        """Whether it was on its way to the other side when it was seen last."""
        return self.settled is not None and self.looks >= UNSEEN

    def _settle(self, looks: int, now: Instant, span: float) -> bool:
        if self.leaning is None or self.since is None or self.looks < looks:
            return False
        if now.moment - self.since.moment < span - ROUNDING:
            return False
        self._change()
        return True

    def _change(self) -> None:
        assert self.since is not None
        self.changed = Instant(self.over, self.since.wall - (self.since.moment - self.over))
        self.settled, self.leaning, self.looks = self.leaning, None, 0
        self.farthest, self.longest = -math.inf, (0.0, 0)

    def _passed(self, distance: float, now: Instant) -> float:
        """Since when it has been on this side of the border, if it went straight from the last look to this one."""
        if self.last is None or self.last[1] == distance:
            return now.moment
        moment, before = self.last
        return moment + (now.moment - moment) * before / (before - distance) if before * distance < 0.0 else moment
