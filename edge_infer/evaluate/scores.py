"""The outcome of an evaluation: figures, tables and the worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge_infer.evaluate.average_precision import OperatingPoint, ThresholdChoice
from edge_infer.evaluate.bootstrap import Interval
from edge_infer.evaluate.calibration import Calibration
from edge_infer.evaluate.matching import Floats

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
    """How often a labelled class was found as another one; `NOTHING` stands for no object."""

    true: str
    found: str
    count: int


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What a tally gives: ``figures`` by name in the order of a report, the main one first."""

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
    """Return a share; None of nothing."""
    return part / whole if whole else None


def grant(choice: ThresholdChoice, wishes: Sequence[Wish], label: str = "") -> list[Granted]:
    """Return the operating points for the wishes; for all classes together also the one with the highest F1."""
    found = [] if label else [Granted("f1", None, label, choice.best())]
    for wish in wishes:
        point = choice.for_precision(wish.least) if wish.kind == "precision" else choice.for_recall(wish.least)
        found.append(Granted(wish.kind, wish.least, label, point))
    return found
