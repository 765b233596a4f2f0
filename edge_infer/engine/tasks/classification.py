"""Classification of a whole frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import FrameRecord, field
from edge_infer.contract.messages import Result, ScoredLabel, State
from edge_infer.contract.precision import class_rank
from edge_infer.engine.records import Classes
from edge_infer.engine.tasks import Essence, Head, fitted
from edge_infer.engine.tasks.filtering import LabelFilter
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan

MOST: Final = 100
"""Maximum number of classes in a result, even if more would fit. The message schema has the same limit."""
EACH: Final = len('{"label":"","score":0.123},')
"""Maximum bytes of a class, without its label."""


class Scored(NamedTuple):
    """One class of a classification."""

    label: str
    class_id: int
    score: float


class ClassificationFindings(FrameRecord, frozen=True):
    """Classes of one frame above the threshold, the best first, at most ``top_k``.

    ``near`` holds the labels and scores of the next classes, best first, down to a little below the threshold. A spell
    that has started lasts as long as its label is among these. ``left_out`` holds labels above the threshold that the
    pipeline does not report, each with its score.
    """

    classes: tuple[Scored, ...]
    near: Mapping[str | None, float] = field(default_factory=dict)
    left_out: tuple[tuple[str, float], ...] = ()

    @property
    def scores(self) -> dict[str | None, float]:
        """Best score of each of these labels, best first."""
        return best_scores([*((item.label, item.score) for item in self.classes), *self.near.items()])

    @property
    def essence(self) -> Essence:
        """Best class; None if none reached the threshold."""
        return self.classes[0].label if self.classes else None

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the classes."""
        wire = (ScoredLabel(item.label, head.precision.score(item.score)) for item in self.classes)
        items = tuple(sorted(wire, key=class_rank))
        return fitted(
            lambda kept, more: head.result(seq, "classification", classes=kept, more=more), items, room, MOST, EACH
        )

    def state(self, head: Head, room: int) -> State:
        """Return the best class. Return null without a reason if the model ran and no class reached the threshold."""
        del room  # one label always fits
        return head.state(class_=self.classes[0].label if self.classes else None)


class ClassificationTask:
    """Task that applies threshold, labels and ``top_k``."""

    unknown: ClassVar[Mapping[str, None]] = {"class_": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._named = LabelFilter(plan)
        self._threshold, self._floor = plan.threshold, plan.floor
        self._sure = float(np.float32(plan.threshold))  # float32, as the scores that are compared with it
        self._top_k = plan.top_k
        self._numbers: NDArray[np.intp] = np.empty(0, np.intp)
        self._asked: NDArray[np.bool_] | None = None
        """Class ids to report; None for all. Computed once, because all frames have the same classes."""

    def __call__(self, found: Classes, _: Transform, _moment: float) -> ClassificationFindings:
        """Return the classes of one frame, best first."""
        self._named.check_finite(found)
        if found.scores.size != self._numbers.size:
            self._numbers = np.arange(found.scores.size)
            asked = self._named.wanted(self._numbers)
            self._asked = None if asked.all() else asked
        above = found.scores >= self._floor
        kept = (above if self._asked is None else above & self._asked).nonzero()[0]
        # Classes with equal scores keep the order of their ids. Most classes are not used, so no objects are made for
        # them.
        if kept.size > 1:
            kept = kept[(-found.scores[kept]).argsort(kind="stable")[: self._top_k + MOST]]
        best = list(zip(kept.tolist(), found.scores[kept].tolist(), strict=True))
        shown, label = 0, self._named.label
        for _number, score in best[: self._top_k]:
            if score < self._sure:
                break
            shown += 1
        near = best[shown : shown + MOST]
        return ClassificationFindings(
            tuple([Scored(label(number), number, score) for number, score in best[:shown]]),
            best_scores((label(number), score) for number, score in near) if near else {},
            self._named.left_out(self._numbers, found.scores, self._threshold),
        )


def best_scores(scores: Iterable[tuple[str | None, float]]) -> dict[str | None, float]:
    """Return the first score of each label, which is the best; several classes may share a label."""
    best: dict[str | None, float] = {}
    for label, score in scores:
        best.setdefault(label, score)
    return best
