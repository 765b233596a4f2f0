"""The outcome of an evaluation: figures, tables, calibration and the worst mistakes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from edge_infer.evaluate.average_precision import OperatingPoint, ThresholdChoice
from edge_infer.evaluate.bootstrap import Interval
from edge_infer.evaluate.matching import Flags, Floats
from edge_infer.frames.geometry import Box

NOTHING: Final = "nothing"
"""In a confusion: no labelled object, or nothing found."""
CURVE_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """A wished precision or recall."""

    kind: str
    least: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The operating point for a request, or with the highest F1 (``least`` is None); ``point`` is None if none exists.

    ``label`` is empty for all classes together.
    """

    kind: str
    least: float | None
    label: str
    point: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: labelled items, items found at the threshold, and their precision and recall.

    A value is None if it is undefined: a precision without found items, an average precision without boxes.
    """

    label: str
    count: int
    found: int
    precision: float | None
    recall: float | None
    ap50: float | None = None
    ap50_95: float | None = None


@dataclass(frozen=True, slots=True)
class SizeScore:
    """Boxes of one range of sizes, as in `ClassScore`."""

    size: str
    count: int
    precision: float | None
    recall: float | None
    map50_95: float | None


@dataclass(frozen=True, slots=True)
class Confused:
    """The number of times that a labelled class was found as another class; `NOTHING` stands for no object."""

    true: str
    found: str
    count: int


@dataclass(frozen=True, slots=True)
class TaskScores:
    """The outcome of a tally: ``figures`` by name in the order of a report, the main one first."""

    figures: dict[str, float | None]
    classes: tuple[ClassScore, ...] = ()
    sizes: tuple[SizeScore, ...] = ()
    confusion: tuple[Confused, ...] = ()
    calibration: Calibration | None = None
    granted: tuple[Granted, ...] = ()
    curve: tuple[OperatingPoint, ...] = ()
    intervals: dict[str, Interval] = field(default_factory=dict)


class TaskTally(Protocol):
    """Sums up the examples of one model.

    ``compared`` names the figures of `figures`, the main one first; ``more_is_better`` is false for errors.
    """

    compared: tuple[str, ...]
    more_is_better: bool

    @property
    def examples(self) -> int:
        """Number of examples."""

    @property
    def work(self) -> int:
        """Additions that one call of `figures` takes."""

    def figures(self) -> Callable[[Floats], Floats]:
        """Return a function from weights of the examples to the figures ``compared``."""

    def scores(self, threshold: float, wishes: Sequence[Wish]) -> TaskScores:
        """Return all figures."""


def ratio(part: float, whole: float) -> float | None:
    """Return the share; None if ``whole`` is 0."""
    return part / whole if whole else None


def grant(choice: ThresholdChoice, wishes: Sequence[Wish], label: str = "") -> list[Granted]:
    """Return the operating points for the wishes; for all classes together also the one with the highest F1."""
    found = [] if label else [Granted("f1", None, label, choice.best())]
    for wish in wishes:
        point = choice.for_precision(wish.least) if wish.kind == "precision" else choice.for_recall(wish.least)
        found.append(Granted(wish.kind, wish.least, label, point))
    return found


# Calibration: how often items with a score are right, compared with that score.

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Items with scores from ``low`` to ``high``: their number, their mean score, and the share of right items."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The reliability diagram; ``error`` is the expected calibration error (Naeini 2015), None without items."""

    bins: tuple[ScoreBin, ...]
    error: float | None


def calibrate(scores: Floats, right: Flags) -> Calibration:
    """Return the calibration over ten bins of equal width; empty bins are left out."""
    numbers = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    sums, hits = (np.bincount(numbers, values, BINS) for values in (scores, right.astype(np.float64)))
    bins = tuple(
        ScoreBin(n / BINS, (n + 1) / BINS, int(counts[n]), float(sums[n] / counts[n]), float(hits[n] / counts[n]))
        for n in np.flatnonzero(counts).tolist()
    )
    apart = sum(each.count * abs(each.score - each.right) for each in bins)
    return Calibration(bins, apart / len(scores) if len(scores) else None)


# The worst mistakes: large objects that were missed, and false alarms with high scores.

KEPT: Final = 12
"""Maximum number of mistakes of each kind in a report."""

MistakeKind = Literal["missed", "false_alarm"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: the labelled class, the found one and its score, and their boxes in pixels.

    A missing class is an empty name; a missing score or box is None.
    """

    kind: MistakeKind
    name: str
    path: str
    true: str
    found: str
    score: float | None
    true_box: Box | None = None
    found_box: Box | None = None


class WorstMistakes:
    """Keeps the worst mistakes of each kind; among equal mistakes, the earlier ones."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._heaps: dict[MistakeKind, list[tuple[float, int, Mistake]]] = {"missed": [], "false_alarm": []}
        self._count = 0

    def offer(self, badness: float, mistake: Mistake) -> None:
        """Take a mistake if it is one of the worst."""
        self._count += 1
        heap, item = self._heaps[mistake.kind], (badness, -self._count, mistake)
        if len(heap) < self._kept:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)

    def of(self, kind: MistakeKind) -> list[Mistake]:
        """Return the mistakes of a kind, the worst first."""
        return [mistake for _, _, mistake in sorted(self._heaps[kind], key=lambda item: item[:2], reverse=True)]
