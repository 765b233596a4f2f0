"""From findings to what leaves the device: fractions, rounded numbers, and no more bytes than allowed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from edge_infer.codec import ABSENT, dumps, encode
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.frame import Frame
from edge_infer.engine.postprocess import Classification, Detections, Findings, Found
from edge_infer.messages import DetectedObject, FractionBox, Reason, Result, ScoredLabel, State, timestamp

MOST_OBJECTS: Final = 1000
MOST_CLASSES: Final = 100
"""What the closed schema takes at most, however many bytes are allowed."""
LARGEST_STATE: Final = 1024
"""Bytes of a state, whatever ``max_payload`` allows a result."""
MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes that are left free for marks that the way to the broker may add."""

Item = TypeVar("Item", DetectedObject, ScoredLabel)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one frame became. ``ms`` is the time from capture to outcome; None leaves it out."""

    plan: PipelinePlan
    boot: str
    ts: str
    ms: float | None
    findings: Findings

    @property
    def essence(self) -> tuple[tuple[str, int], ...] | str | None:
        """What a change is measured by: counts by label, or the class."""
        if isinstance(self.findings, Detections):
            return tuple(sorted(Counter(item.label for item in self.findings.objects).items()))
        return self.findings.classes[0].label if self.findings.classes else None

    def result(self, seq: int) -> Result:
        """The result of this number within ``max_payload`` bytes: the lowest scores are cut and counted in ``more``."""
        if isinstance(self.findings, Detections):
            return self._detection(seq, self.findings)
        return self._classification(seq, self.findings)

    def state(self) -> State:
        """What holds now: the number of objects by label, the most frequent where not all fit, or the best class."""
        model = self.plan.model
        base = State(1, self.ts, self.boot, model.title, model.sha256[:8], class_=None)
        if isinstance(self.findings, Classification):
            label = self.essence
            return replace(base, class_=label if isinstance(label, str) else None)
        counts = Counter(item.label for item in self.findings.objects)
        base = replace(base, class_=ABSENT, counts={})
        budget = LARGEST_STATE - MARKS - len(dumps(encode(base)))
        kept = _fitting([len(dumps({label: number})) - 1 for label, number in counts.most_common()], budget)
        chosen = dict(sorted(counts.most_common(kept)))
        return replace(base, counts=chosen, more=len(counts) - kept or ABSENT)

    def _detection(self, seq: int, found: Detections) -> Result:
        objects = [
            DetectedObject(item.label, round(item.score, 3), _fractions(item, found.source)) for item in found.objects
        ]
        base = replace(self._base(seq), task="detection", objects=(), classes=ABSENT)
        kept = self._cut(base, objects, MOST_OBJECTS)
        return replace(base, objects=kept, more=len(objects) - len(kept) or ABSENT)

    def _classification(self, seq: int, found: Classification) -> Result:
        classes = [ScoredLabel(item.label, round(item.score, 3)) for item in found.classes]
        base = self._base(seq)
        kept = self._cut(base, classes, MOST_CLASSES)
        return replace(base, classes=kept, more=len(classes) - len(kept) or ABSENT)

    def _base(self, seq: int) -> Result:
        model = self.plan.model
        ms = ABSENT if self.ms is None else max(0.0, round(self.ms, 1))
        sha = model.sha256[:8]
        return Result(1, self.ts, self.boot, seq, model.title, sha, task="classification", ms=ms, classes=())

    def _cut(self, base: Result, items: Sequence[Item], most: int) -> tuple[Item, ...]:
        """The best items that fit; each is encoded once."""
        budget = self.plan.max_payload - MARKS - len(dumps(encode(base)))
        return tuple(items[: min(most, _fitting([len(dumps(encode(item))) + 1 for item in items], budget))])


class Composer:
    """Makes the outcomes of one pipeline in one boot."""

    def __init__(self, plan: PipelinePlan, boot: str) -> None:
        self._plan = plan
        self._boot = boot

    def __call__(self, findings: Findings, frame: Frame, now: float) -> Outcome:
        """The outcome of a frame, at ``now`` seconds of the monotonic clock."""
        return Outcome(self._plan, self._boot, timestamp(frame.wall), (now - frame.monotonic) * 1000.0, findings)

    def nothing(self, reason: Reason) -> State:
        """The state while nothing is known."""
        model = self._plan.model
        base = State(1, timestamp(time.time()), self._boot, model.title, model.sha256[:8], class_=None, reason=reason)
        return base if model.task == "classification" else replace(base, counts=None, class_=ABSENT)


def _fractions(item: Found, source: tuple[int, int]) -> FractionBox:
    width, height = source
    xmin, ymin, xmax, ymax = item.box
    return _fraction(xmin / width), _fraction(ymin / height), _fraction(xmax / width), _fraction(ymax / height)


def _fraction(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)


def _fitting(sizes: Sequence[int], budget: int) -> int:
    """How many items of these sizes, a comma each included, fit; room is kept for ``more`` unless all do."""
    if sum(sizes) <= budget:
        return len(sizes)
    budget -= len(f',"more":{len(sizes)}')
    for count, size in enumerate(sizes):
        budget -= size
        if budget < 0:
            return count
    return len(sizes)
