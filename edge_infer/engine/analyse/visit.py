"""Visit: the zones and lines of one object in a scene, and its published events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from edge_infer.config.plan import LinePlan
from edge_infer.engine.analyse.border import Side
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.analyse.lines import Point

ACROSS: Final = 0.2
"""Seconds on the other side after which a line counts as crossed."""

Direction = Literal["left", "right"]


@dataclass(slots=True)
class Stay:
    """Stay in a zone: its start, and whether its enter and loiter events were sent."""

    since: Instant
    begun: bool = False
    loitered: bool = False


@dataclass(slots=True)
class Passage:
    """One object at one line: its side, the last point surely on it, and the first on the other side.

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
        """Add a frame without the object; return whether it now counts as having crossed."""
        return self.side.wait(now, ACROSS) and self._cross(to_left=bool(self.side.settled))

    def cut_short(self) -> bool:
        """Return whether the object, now gone, was on its way across; record the crossing if so."""
        return self.side.cut_short() and self._cross(to_left=not self.side.settled)

    def _cross(self, *, to_left: bool) -> bool:
        self.to_left, self.way, self.before = to_left, (self.before, self.after), self.after
        return True


@dataclass(slots=True)
class Visit:
    """State of one object in a scene: its appear event, stays, and crossings before that event."""

    sides: dict[str, Side] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    crossed: list[tuple[LinePlan, Direction]] = field(default_factory=list)
    entered: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    around: set[str] = field(default_factory=set)
    """Lines that it passed beyond their ends."""
    told: bool = False
    explained: float = 0.0
    """Time of the last recorded reason, on the monotonic clock."""
