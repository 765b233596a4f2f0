"""Judges the findings of a model in each example: counts them, and keeps the worst mistakes and golden examples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Protocol

import numpy as np

from edge_infer.engine.tasks.detection import fractions
from edge_infer.evaluate.class_names import ClassNames
from edge_infer.evaluate.class_tally import NORMAL, AnomalyTally, BestClass, ClassTally
from edge_infer.evaluate.detection_tally import DetectionTally, Mistakes
from edge_infer.evaluate.examples import LabelledClass, LabelledExample, LabelledValues, NoteCounter
from edge_infer.evaluate.golden_examples import LEAST_IOU, MARGIN, MOST_OBJECTS, GoldenChoice, GoldenExample
from edge_infer.evaluate.matching import Floats, FoundBoxes, TrueBoxes, overlaps
from edge_infer.evaluate.resume_file import Looked
from edge_infer.evaluate.scores import Mistake, MistakeKind, TaskTally, WorstMistakes
from edge_infer.evaluate.value_tally import ValueTally
from edge_infer.frames.geometry import Box
from edge_infer.plan.records import ModelPlan

Size = tuple[int, int]


class ExampleJudge(Protocol):
    """Takes the examples of one model, one after the other."""

    worst: WorstMistakes
    golden: GoldenChoice

    @property
    def tally(self) -> TaskTally:
        """Return the figures so far."""

    def add(self, example: LabelledExample, looked: Looked, size: Size | None) -> None:
        """Add an example; ``size`` is the width and height of a picture."""


def make_judge(
    plan: ModelPlan, classes: ClassNames, kept: Collection[int], notes: NoteCounter, golden: int
) -> ExampleJudge:
    """Return the judge for the task of a model; ``kept`` are the indices of the class names that count."""
    if plan.task == "detection":
        return BoxJudge(plan, classes, kept, notes, golden)
    if plan.task == "regression":
        return ValueJudge(plan)
    if plan.task == "anomaly":
        return AnomalyJudge(plan, classes, golden)
    return ClassJudge(plan, classes, kept, golden)


class BoxJudge:
    """Judges a detector."""

    def __init__(
        self, plan: ModelPlan, classes: ClassNames, kept: Collection[int], notes: NoteCounter, golden: int
    ) -> None:
        self._plan, self._classes, self._notes = plan, classes, notes
        self._of_data = np.array(classes.of_data, np.int64)
        self._kept = np.unique(self._of_data[sorted(kept)])
        self.tally = DetectionTally(classes.names, plan.threshold)
        self.worst, self.golden = WorstMistakes(), GoldenChoice(golden)

    def add(self, example: LabelledExample, looked: Looked, size: Size | None) -> None:
        """Add a picture."""
        true = example.label
        assert isinstance(true, TrueBoxes)
        assert size is not None
        true = replace(true, classes=self._of_data[true.classes])
        known = np.isin(true.classes, self._kept)
        true, (found, others) = true.of(known), self._found(looked)
        mistakes = self.tally.add(found, true)
        self._offer(example, size, found, true, mistakes)
        right = not mistakes.missed and not mistakes.alarms and not mistakes.confused
        # A trial of a golden input also checks findings of classes without labels.
        if known.all() and right and others.max(initial=0.0) < self._plan.threshold - MARGIN:
            self._offer_golden(example, size, found, true)

    def _found(self, looked: Looked) -> tuple[FoundBoxes, Floats]:
        """Return the boxes that count, and the scores of the boxes of classes without labels."""
        numbers = np.array([self._classes.number(item[0]) for item in looked.items], np.int64)
        table = np.array([item[1:] for item in looked.items], np.float64).reshape(-1, 5)
        kept = np.isin(numbers, self._kept)
        others = table[~kept, 0]
        if many := int((others >= self._plan.threshold).sum()):
            self._notes.add(f"objects that {self._plan.title} found, of classes without labels, skipped", "", many)
        return FoundBoxes(table[kept, 1:], numbers[kept], table[kept, 0]), others

    def _offer(
        self, example: LabelledExample, size: Size, found: FoundBoxes, true: TrueBoxes, mistakes: Mistakes
    ) -> None:
        """Offer the worst mistake of each kind in a picture."""
        shares = [(float(true.areas[label]) / (size[0] * size[1]), label) for label in mistakes.missed]
        if shares:
            badness, label = max(shares)
            self.worst.offer(badness, self._mistake("missed", example, (true, label), None))
        pairs = [(float(found.scores[box]), box, label) for label, box in mistakes.confused]
        alarms = [(float(found.scores[box]), box, -1) for box in mistakes.alarms]
        if pairs or alarms:
            badness, box, label = max(pairs + alarms)
            self.worst.offer(
                badness, self._mistake("false_alarm", example, (true, label) if label >= 0 else None, (found, box))
            )

    def _mistake(
        self,
        kind: MistakeKind,
        example: LabelledExample,
        true: tuple[TrueBoxes, int] | None,
        found: tuple[FoundBoxes, int] | None,
    ) -> Mistake:
        names = self._classes.names
        return Mistake(
            kind,
            example.name,
            example.path,
            names[int(true[0].classes[true[1]])] if true else "",
            names[int(found[0].classes[found[1]])] if found else "",
            float(found[0].scores[found[1]]) if found else None,
            _box(true[0], true[1]) if true else None,
            _box(found[0], found[1]) if found else None,
        )

    def _offer_golden(self, example: LabelledExample, size: Size, found: FoundBoxes, true: TrueBoxes) -> None:
        """Offer a picture in which everything is right, if no score is near the threshold."""
        limit = self._plan.threshold
        if true.crowd.any() or len(true.classes) > MOST_OBJECTS:
            return
        margin = float(np.abs(found.scores - limit).min(initial=1.0))
        ious = overlaps(found.boxes[found.scores >= limit], true.boxes, true.crowd)
        if float(ious.max(axis=0, initial=0.0).min(initial=1.0)) < LEAST_IOU:
            return
        ours = {number: label for label, number in zip(self._plan.labels, self._classes.of_model, strict=True)}
        expect = tuple(
            (ours[int(number)], fractions(_inside(_box(true, place), size), size))
            for place, number in enumerate(true.classes)
        )
        self.golden.offer(margin, GoldenExample(example.path, expect))


def _box(boxes: TrueBoxes | FoundBoxes, place: int) -> Box:
    left, top, right, bottom = boxes.boxes[place].tolist()
    return left, top, right, bottom


def _inside(box: Box, size: Size) -> Box:
    """Return the part of a box that lies in a picture, because a manifest accepts no other part."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(size[0])), min(bottom, float(size[1]))


class ClassJudge:
    """Judges a classifier."""

    def __init__(self, plan: ModelPlan, classes: ClassNames, kept: Collection[int], golden: int) -> None:
        self._plan, self._classes = plan, classes
        self._kept = frozenset(classes.of_data[place] for place in kept)
        self.tally = ClassTally(classes.names, plan.labels, plan.threshold)
        self.worst, self.golden = WorstMistakes(), GoldenChoice(golden)

    def add(self, example: LabelledExample, looked: Looked, _size: Size | None) -> None:
        """Add an input; an input of a class that does not count is skipped."""
        assert isinstance(example.label, LabelledClass)
        true = self._classes.of_data[example.label.number]
        if true not in self._kept:
            return
        class_id, score, rank = looked.answer or (-1, 0.0, len(self._plan.labels))
        number = self._classes.number(class_id)
        found = number if number >= 0 else -1 - max(class_id, 0)
        self.tally.add(true, BestClass(found, score, rank))
        said, names = score >= self._plan.threshold, self._classes.names
        if found == true and said:
            self.golden.offer(
                score - self._plan.threshold, GoldenExample(example.path, ((self._plan.labels[class_id], None),))
            )
            return
        name = self.tally.name(found) if looked.answer else ""
        kind: MistakeKind = "false_alarm" if said else "missed"
        mistake = Mistake(kind, example.name, example.path, names[true], name, score if looked.answer else None)
        self.worst.offer(score if said else 1.0 - score, mistake)


class AnomalyJudge:
    """Judges an anomaly detector."""

    def __init__(self, plan: ModelPlan, classes: ClassNames, golden: int) -> None:
        self._plan, self._names = plan, classes.renamed
        self.tally = AnomalyTally()
        self.worst, self.golden = WorstMistakes(), GoldenChoice(golden)

    def add(self, example: LabelledExample, looked: Looked, _size: Size | None) -> None:
        """Add an input."""
        assert isinstance(example.label, LabelledClass)
        name = self._names[example.label.number]
        distance = looked.answer[1] if looked.answer else float("inf")
        self.tally.add(name, distance)
        threshold = self._plan.threshold
        said, anomalous = distance >= threshold, name.casefold() not in NORMAL
        found = "anomalous" if said else "normal"
        if said == anomalous:
            margin = abs(distance - threshold) / max(threshold, 1e-9)
            self.golden.offer(margin, GoldenExample(example.path, ((found, None),)))
            return
        kind: MistakeKind = "false_alarm" if said else "missed"
        badness = distance if said else -distance
        self.worst.offer(badness, Mistake(kind, example.name, example.path, name, found, distance))


class ValueJudge:
    """Judges a regression."""

    def __init__(self, plan: ModelPlan) -> None:
        self._names = [value.name for value in plan.values]
        self.tally = ValueTally(self._names)
        self.worst, self.golden = WorstMistakes(), GoldenChoice(0)

    def add(self, example: LabelledExample, looked: Looked, _size: Size | None) -> None:
        """Add an input; the worst input is the one with the largest error of a value."""
        assert isinstance(example.label, LabelledValues)
        true = dict(example.label.values)
        found = dict(zip(self._names, looked.values, strict=False))
        errors = [None if (value := found.get(name)) is None else value - true[name] for name in self._names]
        self.tally.add(errors)
        sizes = [(float("inf") if error is None else abs(error)) for error in errors]
        off, name = max(zip(sizes, self._names, strict=True))
        value = found.get(name)
        shown = "nothing plausible" if value is None else f"{value:.6g}"
        self.worst.offer(
            off, Mistake("false_alarm", example.name, example.path, f"{name} {true[name]:.6g}", f"{name} {shown}", None)
        )
