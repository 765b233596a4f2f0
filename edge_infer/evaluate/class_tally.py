"""Sums up models with one result per input: accuracy, precision and recall, confusion, calibration, anomalies."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_infer.evaluate.average_precision import ThresholdChoice
from edge_infer.evaluate.matching import Flags, Floats, Ints
from edge_infer.evaluate.scores import (
    CURVE_POINTS,
    NOTHING,
    ClassScore,
    Confused,
    TaskScores,
    Wish,
    calibrate,
    grant,
    ratio,
)

TOP: Final = 5


@dataclass(frozen=True, slots=True)
class BestClass:
    """The best class of one input and its score; ``rank`` is the true class's place among all, from 0.

    ``found`` is the number of a class, or -1 - n for the model's class n, which the data do not have.
    """

    found: int
    score: float
    rank: int


class ClassTally:
    """Answers of a classifier; a few bytes for each input."""

    compared: tuple[str, ...] = ("accuracy", "balanced_accuracy")
    more_is_better: bool = True

    def __init__(self, names: Sequence[str], labels: Sequence[str], threshold: float) -> None:
        self._names, self._labels, self._threshold = tuple(names), tuple(labels), threshold
        self._true, self._found, self._scores, self._ranks = array("i"), array("i"), array("d"), array("i")

    @property
    def examples(self) -> int:
        """Number of inputs."""
        return len(self._true)

    @property
    def work(self) -> int:
        """Additions that one call of `figures` takes."""
        return 4 * self.examples + 3000

    def add(self, true: int, answer: BestClass) -> None:
        """Add an input of the class with this number."""
        self._true.append(true)
        self._found.append(answer.found)
        self._scores.append(answer.score)
        self._ranks.append(answer.rank)

    def right(self) -> Flags:
        """Return for each input whether the best class is the true one."""
        return np.asarray(np.array(self._true) == np.array(self._found), np.bool_)

    def figures(self) -> Callable[[Floats], Floats]:
        """Return a function from weights of the inputs to the accuracy, and to its mean over the classes."""
        true, right = np.array(self._true, np.int64), self.right().astype(np.float64)

        def weighted(weights: Floats) -> Floats:
            counts, hits = np.bincount(true, weights), np.bincount(true, weights * right)
            some = counts > 0
            return np.array([hits.sum() / max(counts.sum(), 1.0), (hits[some] / counts[some]).mean()])

        return weighted

    def scores(self, threshold: float, wishes: Sequence[Wish]) -> TaskScores:
        """Return all figures; an answer below the threshold is not reported."""
        true, found = np.array(self._true, np.int64), np.array(self._found, np.int64)
        score, rank, right = np.array(self._scores), np.array(self._ranks), self.right()
        accuracy, balanced = self.figures()(np.ones(len(true))).tolist() if len(true) else (None, None)
        choice = ThresholdChoice(score, right, len(true))
        at, said = choice.at(threshold), score >= threshold
        figures: dict[str, float | None] = {
            "accuracy": accuracy,
            "balanced_accuracy": balanced,
            "top5": ratio(int((rank < TOP).sum()), len(rank)),
            "precision": at.precision if said.any() else None,
            "recall": at.recall if len(true) else None,
        }
        granted = grant(choice, wishes)
        if wishes:
            for number in np.unique(true).tolist():
                mine = found == number
                own = ThresholdChoice(score[mine], right[mine], int((true == number).sum()))
                granted += grant(own, wishes, self._names[number])
        classes = tuple(self._class_score(number, true, found, said) for number in np.unique(true).tolist())
        pairs = Counter(zip(true.tolist(), found.tolist(), said.tolist(), strict=True))
        return TaskScores(
            figures,
            classes,
            confusion=tuple(self._confusions(pairs)),
            calibration=calibrate(score, right),
            granted=tuple(granted),
            curve=tuple(choice.sampled(CURVE_POINTS)),
        )

    def _class_score(self, number: int, true: Ints, found: Ints, said: Flags) -> ClassScore:
        mine, theirs = (found == number) & said, true == number
        both, count = int((mine & theirs).sum()), int(theirs.sum())
        return ClassScore(self._names[number], count, int(mine.sum()), ratio(both, int(mine.sum())), ratio(both, count))

    def _confusions(self, pairs: Counter[tuple[int, int, bool]]) -> list[Confused]:
        counts: Counter[tuple[str, str]] = Counter()
        for (true, found, said), count in pairs.items():
            counts[self._names[true], self.name(found) if said else NOTHING] += count
        return [Confused(true, found, count) for (true, found), count in counts.most_common()]

    def name(self, found: int) -> str:
        """Return the name of a found class."""
        return self._names[found] if found >= 0 else self._labels[-1 - found]


NORMAL: Final = frozenset({"normal", "good", "ok"})
"""Names of the class of inputs without an anomaly; inputs of any other class have one."""


class AnomalyTally:
    """Distances from normal, of normal and anomalous inputs."""

    compared: tuple[str, ...] = ("auc",)
    more_is_better: bool = True

    def __init__(self) -> None:
        self._distances, self._anomalous = array("d"), array("B")

    @property
    def examples(self) -> int:
        """Number of inputs."""
        return len(self._distances)

    @property
    def work(self) -> int:
        """Additions that one call of `figures` takes."""
        return 10 * self.examples + 3000

    def add(self, name: str, distance: float) -> None:
        """Add an input of a class of the data; a distance that is not finite counts as the largest."""
        self._distances.append(distance if np.isfinite(distance) else np.finfo(np.float64).max)
        self._anomalous.append(name.casefold() not in NORMAL)

    def figures(self) -> Callable[[Floats], Floats]:
        """Return a function from weights of the inputs to the area under the ROC curve."""
        distances, anomalous = np.array(self._distances), np.array(self._anomalous) > 0
        _, ranks = np.unique(distances, return_inverse=True)

        def weighted(weights: Floats) -> Floats:
            bad = np.bincount(ranks, weights * anomalous)
            good = np.bincount(ranks, weights * ~anomalous)
            below = np.cumsum(good) - good / 2  # an equal distance counts half
            whole = bad.sum() * good.sum()
            return np.array([(bad * below).sum() / whole if whole else np.nan])

        return weighted

    def scores(self, threshold: float, wishes: Sequence[Wish]) -> TaskScores:
        """Return all figures: an input is found anomalous from the threshold on."""
        distances, anomalous = np.array(self._distances), np.array(self._anomalous) > 0
        choice = ThresholdChoice(distances, anomalous, int(anomalous.sum()))
        at, said = choice.at(threshold), distances >= threshold
        area = float(self.figures()(np.ones(len(distances)))[0]) if len(distances) else float("nan")
        figures: dict[str, float | None] = {
            "auc": area if np.isfinite(area) else None,
            "precision": at.precision if said.any() else None,
            "recall": at.recall if anomalous.any() else None,
        }
        names = ("normal", "anomalous")
        pairs = Counter(zip(anomalous.tolist(), said.tolist(), strict=True))
        classes = tuple(
            ClassScore(
                names[kind],
                int((anomalous == kind).sum()),
                int((said == kind).sum()),
                ratio(pairs[kind, kind], int((said == kind).sum())),
                ratio(pairs[kind, kind], int((anomalous == kind).sum())),
            )
            for kind in (False, True)
        )
        confusion = tuple(Confused(names[true], names[found], count) for (true, found), count in pairs.most_common())
        return TaskScores(
            figures,
            classes,
            confusion=confusion,
            granted=tuple(grant(choice, wishes)),
            curve=tuple(choice.sampled(CURVE_POINTS)),
        )
