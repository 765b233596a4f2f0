"""Side of a border on which an object is, with hysteresis: jitter at the border is not a crossing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_infer.engine.analyse.instant import ROUNDING, Instant

MARGIN: Final = 0.12
"""Minimum distance beyond a border before a point counts, as a share of the longer side of its box."""
FRAMES: Final = 3
"""Minimum consecutive frames on the other side."""
UNSEEN: Final = 2
"""Frames that suffice for the first side of an object, and for an object that is not seen afterwards."""


@dataclass(slots=True)
class Side:
    """State of one object at one border; ``settled`` is the confirmed side (true: inside, or left), None until known.

    The side changes when all looks during ``span`` seconds, at least `FRAMES` of them, found the point on the other
    side, the first `UNSEEN` of them beyond the margin. ``since`` is the first of these looks. An object without a side
    yet needs no margin and only two frames. An object that returns before it has enough looks still crossed if two
    conditions hold: it was there for ``span`` seconds, interpolated between looks, and `UNSEEN` looks found it there.
    Frames may be far apart. ``changed`` is the interpolated time at which it reached the confirmed side.
    """

    settled: bool | None = None
    changed: Instant | None = None
    since: Instant | None = None
    leaning: bool | None = None
    looks: int = 0
    touched: bool = False
    """Whether the look before ``since`` was on that side too, but within the margin."""
    farthest: float = -math.inf
    """Farthest position towards the other side: pixels beyond the border, negative if it fell short of the border."""
    margin: float = 0.0
    """Margin that applied at the time of ``farthest``."""
    longest: tuple[float, int] = (0.0, 0)
    """Longest stay on the other side, in seconds and in frames."""
    last: tuple[float, float] | None = None
    """Time and distance to the border of the last look."""
    over: float = 0.0
    """Time of the crossing, interpolated on a straight line between two looks."""

    def look(self, distance: float, margin: float, now: Instant, span: float) -> bool:
        """Add one look and return whether the side changed; ``distance`` to the border is positive on the true side."""
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
        """Add a frame without the object, which then counts as not having returned; return whether the side changed.

        An object that crossed the border in one look and the margin in the next was seen there twice and is not jitter.
        """
        return self.settled is not None and self._settle(UNSEEN - self.touched, now, span)

    def cut_short(self) -> bool:
        """Return whether the object was on its way to the other side when it was last seen."""
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
        """Return the time since which it is on this side, on a straight line from the last look to this one."""
        if self.last is None or self.last[1] == distance:
            return now.moment
        moment, before = self.last
        return moment + (now.moment - moment) * before / (before - distance) if before * distance < 0.0 else moment
