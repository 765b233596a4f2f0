"""Visit of one object to a scene: on which side of each zone border and line it is, and its published events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from edge_infer.engine.events.zones import Point
from edge_infer.frames.frame import ROUNDING, Instant
from edge_infer.plan.records import LinePlan

# Side of a border on which an object is, with hysteresis, so that jitter at the border does not count as a crossing.

MARGIN: Final = 0.12
"""Margin: the minimum distance beyond a border at which a point counts as beyond it, as a share of the longer side of
the object's box."""
FRAMES: Final = 3
"""Minimum consecutive frames on the other side before the side changes."""
UNSEEN: Final = 2
"""Number of frames that suffice for the first side of an object, and for an object that is not seen afterwards."""


@dataclass(slots=True)
class Side:
    """State of one object at one border.

    ``settled`` is the confirmed side (true: inside, or left); None until it is known.

    A *look* is the position of the object in one frame. The side changes when all looks during ``span`` seconds (at
    least `FRAMES`) find the point on the other side, and the first `UNSEEN` of these find it beyond the margin.
    ``since`` is the time of the first of these looks. For the first side of an object, two looks without a margin
    suffice.

    An object that returns before it has enough looks still crossed the border if two conditions hold:

    - It was on the other side for ``span`` seconds, interpolated between looks, because frames may be far apart.
    - The first `UNSEEN` of the looks there found it beyond the margin.

    ``changed`` is the interpolated time at which it reached the confirmed side.
    """

    settled: bool | None = None
    changed: Instant | None = None
    since: Instant | None = None
    leaning: bool | None = None
    looks: int = 0
    touched: bool = False
    """Whether the look before ``since`` already found the point on the other side, but within the margin."""
    farthest: float = -math.inf
    """Farthest position towards the other side, in pixels beyond the border; negative if the point did not reach the
    border."""
    margin: float = 0.0
    """The margin at the time of ``farthest``."""
    longest: tuple[float, int] = (0.0, 0)
    """Longest stay on the other side, in seconds and in frames."""
    last: tuple[float, float] | None = None
    """Time of the last look, and its distance to the border."""
    over: float = 0.0
    """Time since which the point is beyond the margin or, if it crossed the border between the last two looks, the time
    of the crossing."""
    came: float = 0.0
    """Time since which the point is on the side of the last look, on a straight line between two looks."""
    crossed: float = 0.0
    """The value of ``came`` at the first look that found the point beyond the margin on the other side."""

    def look(self, distance: float, margin: float, now: Instant, span: float) -> bool:
        """Add one look and return whether the side changed; ``distance`` to the border is positive on the true side."""
        beyond = -distance if self.settled else distance
        touched = self.last is not None and self.last[1] * distance > 0.0
        passed = self._passed(distance, now)
        if not touched:
            self.came = passed
        self.last = now.moment, distance
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
            self.touched, self.crossed = touched, self.came
        self.looks += 1
        assert self.since is not None
        self.longest = max(self.longest, (now.moment - self.since.moment, self.looks))
        return self._settle(FRAMES if self.settled is not None else UNSEEN, now, span)

    def wait(self, now: Instant, span: float) -> bool:
        """Add a frame without the object; return whether the side changed. The object counts as not returned.

        If one look found the object across the border and the next one beyond the margin, it was seen there twice, so
        jitter is not the cause.
        """
        return self.settled is not None and self._settle(UNSEEN - self.touched, now, span)

    def cut_short(self) -> bool:
        """Return whether the object was moving to the other side when it was last seen."""
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
        self.changed = Instant(self.crossed, self.since.wall - (self.since.moment - self.crossed))
        self.settled, self.leaning, self.looks = self.leaning, None, 0
        self.farthest, self.longest = -math.inf, (0.0, 0)

    def _passed(self, distance: float, now: Instant) -> float:
        """Return the time since which the point is on this side, interpolated between the last look and this one."""
        if self.last is None or self.last[1] == distance:
            return now.moment
        moment, before = self.last
        return moment + (now.moment - moment) * before / (before - distance) if before * distance < 0.0 else moment


# Visit of one object to a scene: its zones and lines, and its published events.

ACROSS: Final = 0.2
"""Seconds on the other side of a line after which the line counts as crossed."""

Direction = Literal["left", "right"]


@dataclass(slots=True)
class Stay:
    """Stay of an object in a zone: its start, and whether its enter and loiter events were published."""

    since: Instant
    begun: bool = False
    loitered: bool = False


@dataclass(slots=True)
class Passage:
    """One object at one line: its side, its last point beyond the margin on this side, and its first on the other side.

    ``way`` holds these two points for the last crossing.
    """

    side: Side = field(default_factory=Side)
    before: Point = (0.0, 0.0)
    after: Point = (0.0, 0.0)
    to_left: bool = False
    way: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))

    def look(self, distance: float, margin: float, point: Point, now: Instant) -> bool:
        """Add one look; return whether the object crossed, even if it has returned since."""
        before = self.side.settled
        changed = self.side.look(distance, margin, now, ACROSS)
        if changed:
            self._cross(to_left=not before)
        if before is None or (not changed and distance * (1 if before else -1) > margin):
            self.before = point
        if self.side.looks == 1:
            self.after = point
        return changed and before is not None

    def wait(self, now: Instant) -> bool:
        """Add a frame without the object; return whether it now counts as having crossed the line."""
        return self.side.wait(now, ACROSS) and self._cross(to_left=bool(self.side.settled))

    def cut_short(self) -> bool:
        """Return whether the object, which is gone now, was crossing the line; if so, record the crossing."""
        return self.side.cut_short() and self._cross(to_left=not self.side.settled)

    def _cross(self, *, to_left: bool) -> bool:
        self.to_left, self.way, self.before = to_left, (self.before, self.after), self.after
        return True


@dataclass(slots=True)
class Visit:
    """One object in a scene: its published appear event, its stays in zones, and its crossings before that event."""

    sides: dict[str, Side] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    crossed: list[tuple[LinePlan, Direction]] = field(default_factory=list)
    entered: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    around: set[str] = field(default_factory=set)
    """Names of the lines that the object passed beyond their ends."""
    told: bool = False
    explained: float = 0.0
    """Time of the last recorded reason, on the monotonic clock."""
