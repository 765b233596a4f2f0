"""Sums up the boxes of all pictures: average precision as in COCO, precision and recall, confusion, calibration."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.evaluate.average_precision import ThresholdChoice, average_precision, curve
from edge_infer.evaluate.matching import (
    IOUS,
    SIZES,
    Flags,
    Floats,
    FoundBoxes,
    Ints,
    Matches,
    TrueBoxes,
    match,
    overlaps,
)
from edge_infer.evaluate.scores import (
    CURVE_POINTS,
    NOTHING,
    ClassScore,
    Confused,
    SizeScore,
    TaskScores,
    Wish,
    calibrate,
    grant,
)

_CALL: Final = 3000
"""Number of additions that take as long as one call of a NumPy function."""


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Wrong boxes of one picture at the threshold: indices of missed labelled boxes, and of false alarms.

    ``confused`` pairs a labelled box with a found box of another class at the same position; neither is in the other
    lists.
    """

    missed: tuple[int, ...]
    alarms: tuple[int, ...]
    confused: tuple[tuple[int, int], ...]


class DetectionTally:
    """Found and labelled boxes of the classes that the model knows, by picture; a few bytes for each box."""

    compared: tuple[str, ...] = ("map50_95", "map50")
    more_is_better: bool = True

    def __init__(self, names: Sequence[str], threshold: float) -> None:
        self._names, self._threshold = tuple(names), threshold
        self._found = tuple(array(code) for code in "IIdQQ")  # picture, class, score, bits of right and ignored
        self._true = tuple(array(code) for code in "IIB")  # picture, class, bits of the sizes in which it counts
        self._confusion: Counter[tuple[int, int]] = Counter()
        self._pictures = 0

    @property
    def examples(self) -> int:
        """Number of pictures."""
        return self._pictures

    @property
    def work(self) -> int:
        """Additions that one call of `figures` takes."""
        return len(IOUS) * (len(self._found[0]) + _CALL * len({*self._true[1]}))

    def add(self, found: FoundBoxes, true: TrueBoxes) -> Mistakes:
        """Add a picture, and return its mistakes at the threshold; both have classes of the data only."""
        matches = match(found, true)
        picture, self._pictures = self._pictures, self._pictures + 1
        order = matches.order
        columns = (found.classes[order], found.scores[order], matches.right, matches.ignored)
        self._found[0].extend([picture] * len(order))
        for into, values in zip(self._found[1:], columns, strict=True):
            into.extend(values.tolist())
        self._true[0].extend([picture] * len(true.classes))
        self._true[1].extend(true.classes.tolist())
        self._true[2].extend(matches.counted.tolist())
        return self._confuse(found, true, matches)

    def _confuse(self, found: FoundBoxes, true: TrueBoxes, matches: Matches) -> Mistakes:
        """Count the confusions: boxes without a partner of their class pair up across classes at an IoU of 0.5."""
        sure = found.scores[matches.order] >= self._threshold
        places, taken = matches.order[sure], matches.taken[sure]
        counted = {label for label in taken.tolist() if label >= 0}
        for label in counted:
            if not true.crowd[label]:
                self._confusion[int(true.classes[label]), int(true.classes[label])] += 1
        free = [label for label in range(len(true.classes)) if label not in counted and not true.crowd[label]]
        alarms = [place for place, label in zip(places.tolist(), taken.tolist(), strict=True) if label < 0]
        pairs = _pairs(found, alarms, true, free)
        for label, place in pairs:
            self._confusion[int(true.classes[label]), int(found.classes[place])] += 1
        missed = tuple(sorted(set(free) - {label for label, _ in pairs}))
        others = tuple(place for place in alarms if place not in {place for _, place in pairs})
        self._confusion.update((int(true.classes[label]), -1) for label in missed)
        self._confusion.update((-1, int(found.classes[place])) for place in others)
        return Mistakes(missed, others, tuple(pairs))

    def columns(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return all found boxes (picture, class, score, right, ignored) and labelled boxes (picture, class, sizes)."""
        kinds = (np.uint32, np.uint32, np.float64, np.uint64, np.uint64)
        found = [np.array(each, kind) for each, kind in zip(self._found, kinds, strict=True)]
        return found, [np.array(each, np.int64) for each in self._true]

    def figures(self) -> Callable[[Floats], Floats]:
        """Return a function from weights of the pictures to mAP at an IoU of 0.5 to 0.95, and of 0.5."""
        columns = _Columns(self, 0)

        def weighted(weights: Floats) -> Floats:
            table = np.array([columns.precisions(number, weights) for number in columns.classes]).reshape(-1, len(IOUS))
            kept = table[np.isfinite(table[:, 0])]
            return np.array([kept.mean(), kept[:, 0].mean()]) if len(kept) else np.full(2, np.nan)

        return weighted

    def scores(self, threshold: float, wishes: Sequence[Wish]) -> TaskScores:
        """Return all figures."""
        whole, ones = _Columns(self, 0), np.ones(self._pictures)
        tables = {number: np.array(whole.precisions(number, ones)) for number in whole.classes}
        every = np.array(list(tables.values())).reshape(-1, len(IOUS))
        choice = whole.choice()
        at = choice.at(threshold)
        scores, right = whole.counting()
        found = bool((scores >= threshold).any())
        figures: dict[str, float | None] = {
            "map50_95": _mean(every),
            "map50": _mean(every[:, 0]),
            "map75": _mean(every[:, 5]),
            "precision": at.precision if found else None,
            "recall": at.recall if whole.count() else None,
        }
        sure = scores >= threshold
        calibration = calibrate(scores[sure], right[sure])
        granted = grant(choice, wishes)
        if wishes:
            for number in whole.classes:
                granted += grant(whole.choice(number), wishes, self._names[number])
        return TaskScores(
            figures,
            tuple(self._class_score(whole, number, tables[number], threshold) for number in whole.classes),
            tuple(self._size_score(size, threshold) for size in range(1, len(SIZES))),
            self._confusions(),
            calibration,
            tuple(granted),
            tuple(choice.sampled(CURVE_POINTS)),
        )

    def _class_score(self, columns: _Columns, number: int, table: Floats, threshold: float) -> ClassScore:
        (scores, _), count = columns.counting(number), columns.count(number)
        at, found = columns.choice(number).at(threshold), int((scores >= threshold).sum())
        return ClassScore(
            self._names[number],
            count,
            found,
            at.precision if found else None,
            at.recall if count else None,
            float(table[0]) if count else None,
            float(table.mean()) if count else None,
        )

    def _size_score(self, size: int, threshold: float) -> SizeScore:
        columns, ones = _Columns(self, size), np.ones(self._pictures)
        every = np.array([columns.precisions(number, ones) for number in columns.classes]).reshape(-1, len(IOUS))
        at, count = columns.choice().at(threshold), columns.count()
        found = bool((columns.counting()[0] >= threshold).any())
        return SizeScore(
            SIZES[size], count, at.precision if found else None, at.recall if count else None, _mean(every)
        )

    def _confusions(self) -> tuple[Confused, ...]:
        names = (*self._names, NOTHING)  # -1 is the last one
        return tuple(
            Confused(names[true], names[found], count) for (true, found), count in self._confusion.most_common()
        )


class _Columns:
    """The boxes of a tally as arrays, best score first, for one range of sizes."""

    def __init__(self, tally: DetectionTally, size: int) -> None:
        found, true = tally.columns()
        order = np.argsort(-found[2], kind="stable")
        self.pictures = np.asarray(found[0][order], np.int64)
        self._class_of = np.asarray(found[1][order], np.int64)
        self.scores = np.asarray(found[2][order], np.float64)
        self._bits = [found[place][order] >> np.uint64(len(IOUS) * size) for place in (3, 4)]
        counts = (true[2] >> size) & 1 > 0
        self._true_pictures, self._true_class_of = true[0][counts], true[1][counts]
        self.classes = tuple(np.unique(np.concatenate((true[1], self._class_of))).tolist())
        self._of_class = {number: np.flatnonzero(self._class_of == number) for number in self.classes}
        self._labelled = {number: self._true_pictures[self._true_class_of == number] for number in self.classes}

    def precisions(self, number: int, weights: Floats) -> list[float]:
        """Return the average precision of a class at each IoU; NaN if the drawn pictures have no box of it."""
        count = float(weights[self._labelled[number]].sum())
        if not count:
            return [float("nan")] * len(IOUS)
        rows = self._of_class[number]
        drawn = weights[self.pictures[rows]]
        right, ignored = (_planes(bits[rows]) for bits in self._bits)
        recall, precision = curve(right * ~ignored * drawn, ~right * ~ignored * drawn, count)
        return [average_precision(recall[step], precision[step]) for step in range(len(IOUS))]

    def count(self, number: int | None = None) -> int:
        """Return the number of labelled boxes of a class, or of all classes."""
        chosen = self.classes if number is None else (number,)
        return sum(len(self._labelled[each]) for each in chosen)

    def counting(self, number: int | None = None) -> tuple[Floats, Flags]:
        """Return scores of the found boxes of a class, or of all, that count at an IoU of 0.5, and the right ones."""
        rows: Ints = np.arange(len(self.scores)) if number is None else self._of_class[number]
        right, ignored = (bits[rows] & np.uint64(1) > 0 for bits in self._bits)
        return self.scores[rows][~ignored], np.asarray(right[~ignored], np.bool_)

    def choice(self, number: int | None = None) -> ThresholdChoice:
        """Return the operating points of a class, or of all classes together."""
        return ThresholdChoice(*self.counting(number), self.count(number))


def _planes(bits: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> Flags:
    """Return ``[ious, boxes]`` flags."""
    shifts = np.arange(len(IOUS), dtype=np.uint64)[:, np.newaxis]
    return np.asarray((bits >> shifts) & np.uint64(1) > 0, np.bool_)


def _mean(table: Floats) -> float | None:
    values = table[np.isfinite(table)]
    return float(values.mean()) if len(values) else None


def _pairs(found: FoundBoxes, alarms: list[int], true: TrueBoxes, free: list[int]) -> list[tuple[int, int]]:
    """Return pairs of a labelled and a found box of different classes that overlap by half, largest overlap first."""
    if not alarms or not free:
        return []
    ious = overlaps(found.boxes[alarms], true.boxes[free], true.crowd[free])
    other = found.classes[alarms][:, np.newaxis] != true.classes[free]
    rows, columns = np.nonzero((ious >= IOUS[0]) & other)
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-ious[rows, columns], kind="stable").tolist():
        label, box = free[columns[place]], alarms[rows[place]]
        if all(label != one and box != another for one, another in pairs):
            pairs.append((label, box))
    return pairs
