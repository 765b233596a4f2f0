"""A follower of a pipeline that is not there, and frames for it."""

from __future__ import annotations

import itertools
from typing import Any

from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import EventsPlan, LinePlan, TrackPlan, ZonePlan
from tests.engine.plans import pipeline

SIZE = (1000, 1000)
ZONE = ZonePlan("drive", ((0.4, 0.2), (0.6, 0.2), (0.6, 0.9), (0.4, 0.9)))
LINE = LinePlan("gate", (0.5, 0.0), (0.5, 0.9))
NOW = 1_700_000_000.0


class Watched:
    """Frames go in, what was told is kept."""

    def __init__(self, **settings: Any) -> None:
        numbers = itertools.count(1)
        settings = {"track": TrackPlan(), "zones": (ZONE,), "lines": (LINE,), "events": EventsPlan()} | settings
        self.follow = Follow(pipeline(**settings), lambda: next(numbers))
        self.told: list[Happening] = []
        self.last: Followed | None = None
        self.at = 0.0

    def frame(self, *found: Detection, seconds: float = 0.1, wall: float | None = None) -> None:
        """One frame, so many seconds after the one before."""
        self.see(Detections(found, SIZE), seconds, wall)

    def see(self, found: Detections, seconds: float = 0.1, wall: float | None = None) -> None:
        """Detections of a frame of any size."""
        self.at += seconds
        now = Instant(self.at, NOW + self.at if wall is None else wall)
        followed, news = self.follow(found, now)
        assert isinstance(followed, Followed)
        self.last, self.told = followed, self.told + list(news)

    def walk(self, start: float, end: float, frames: int, y: float = 500, label: str = "cat", **more: Any) -> None:
        """One object whose feet go from one x to another."""
        for number in range(frames):
            self.frame(box(start + (end - start) * number / max(1, frames - 1), y, label), **more)

    def empty(self, frames: int) -> None:
        """Nothing is seen."""
        for _ in range(frames):
            self.frame()

    def types(self) -> list[str]:
        """What was told, in order."""
        return [happening.type for happening in self.told]


def box(x: float, y: float = 500, label: str = "cat", score: float = 0.9, size: float = 100) -> Detection:
    """An object whose feet are at x, y."""
    number = ("cat", "dog", "face").index(label)
    return Detection(label, number, score, (x - size / 4, y - size, x + size / 4, y))
