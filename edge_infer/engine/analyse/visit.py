"""One object in a scene: where it stays, what it crosses, and what was told of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from edge_infer.config.plan import LinePlan
from edge_infer.engine.analyse.border import Side
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.analyse.lines import Point

ACROSS: Final = 0.2
"""Seconds on the other side of a line after which it was crossed."""

Direction = Literal["left", "right"]


@dataclass(slots=True)
class Stay:
    """In a zone since when; whether that was told, and whether it was told that it lasts."""

    since: Instant
    begun: bool = False
    loitered: bool = False


@dataclass(slots=True)
class Passage:
    """One object and one line: the side, the last point that was surely on it, and the first on the other.

    ``way`` is these two when it has crossed last.
    """

    side: Side = field(default_factory=Side)
    before: Point = (0.0, 0.0)
    after: Point = (0.0, 0.0)
    to_left: bool = False
    way: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))

    def look(self, distance: float, margin: float, point: Point, now: Instant) -> bool:
        """One look; whether it has come to the other side, where it may not be any more."""
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
        """A frame that does not show it; whether it is taken to be on the other side now."""
        return self.side.wait(now, ACROSS) and self._cross(to_left=bool(self.side.settled))

    def cut_short(self) -> bool:
        """It is gone; whether it was on its way to the other side."""
        return self.side.cut_short() and self._cross(to_left=not self.side.settled)

    def _cross(self, *, to_left: bool) -> bool:
        self.to_left, self.way, self.before = to_left, (self.before, self.after), self.after
        return True


@dataclass(slots=True)
class Visit:
    """One object here: whether it was told, where it stays, what it crossed before it was told."""

    sides: dict[str, Side] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    crossed: list[tuple[LinePlan, Direction]] = field(default_factory=list)
    entered: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    around: set[str] = field(default_factory=set)
    """Lines that it went around."""
    told: bool = False
    explained: float = 0.0
    """When it was said last what it came short of, on the clock that never jumps."""
