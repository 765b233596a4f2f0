"""Two files of one network on the same inputs: which findings stay, how far they move, and how long a run takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from edge_infer.engine.input.files import FileFindings
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.replay.drawing import annotate
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.geometry import Box

SAME_PLACE: Final = 0.5
"""IoU from which on two boxes of one label are the same object."""
NOTICEABLE: Final = 0.001
"""A score or an IoU that changes by less is not worth a look."""
ROUNDS: Final = 15
ROUND: Final = 0.05
"""Seconds of a round of one file."""
HEIGHT: Final = 720
"""Pixels that a drawn picture has at most, from top to bottom."""
CAPTION: Final = 30
GAP: Final = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was found, of whatever task; ``number`` is its score, share or value."""

    label: str
    number: float
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What both files find in one input.

    ``overlaps`` (IoU) and ``differences`` (after less before) are those of the items that are ``kept``.
    """

    before: FileFindings
    after: FileFindings
    kept: int
    missing: int
    new: int
    overlaps: tuple[float, ...]
    differences: tuple[float, ...]

    @property
    def same(self) -> bool:
        """Whether the outcome is the same: the same labels, at the same places."""
        return not self.missing and not self.new

    @property
    def badness(self) -> tuple[float, float]:
        """What the worst inputs are chosen by: what is missing or new, then how far the rest has moved."""
        moved = [1 - overlap for overlap in self.overlaps] + [abs(difference) for difference in self.differences]
        return float(self.missing + self.new), max(moved, default=0.0)


class Tally:
    """The sum of pairs; of the pairs themselves only the worst are kept, for pictures are large."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.inputs = self.same = self.kept = self.missing = self.new = 0
        self.overlaps: list[float] = []
        self.differences: list[float] = []
        self.worst: list[Pair] = []

    def add(self, pair: Pair) -> None:
        """One more input."""
        self.inputs += 1
        self.same += pair.same
        self.kept += pair.kept
        self.missing += pair.missing
        self.new += pair.new
        self.overlaps += pair.overlaps
        self.differences += pair.differences
        if pair.badness > (0.0, NOTICEABLE):
            self.worst = sorted([*self.worst, pair], key=lambda each: each.badness, reverse=True)[: self._most]


@dataclass(frozen=True, slots=True)
class Times:
    """Median seconds of a run, and the median of the ratio of two runs that follow each other."""

    before: float
    after: float
    ratio: float


def compare(before: FileFindings, after: FileFindings) -> Pair:
    """Pairs every item with the free one of its label that overlaps most; without boxes the label alone counts."""
    wanted, free = items_of(before.findings), items_of(after.findings)
    kept, overlaps, differences = 0, [], []
    new = len(free)
    for item in wanted:
        likely = max(free, key=lambda other: _likeness(item, other), default=None)
        if likely is None or (overlap := _likeness(item, likely)) < SAME_PLACE:
            continue
        free.remove(likely)
        kept, new = kept + 1, new - 1
        differences.append(likely.number - item.number)
        if item.box is not None:
            overlaps.append(overlap)
    return Pair(before, after, kept, len(wanted) - kept, new, tuple(overlaps), tuple(differences))


def items_of(findings: Findings) -> list[Item]:
    """The findings of any task, best first."""
    if isinstance(findings, Detections):
        return [Item(found.label, found.score, found.box) for found in findings.objects]
    if isinstance(findings, Poses):
        return [Item(findings.label, body.score, _around(body)) for body in findings.bodies]
    if isinstance(findings, ClassificationFindings):
        return [Item(each.label, each.score) for each in findings.classes]
    if isinstance(findings, SegmentationFindings):
        return [Item(each.label, each.share) for each in findings.segments]
    if isinstance(findings, Deviation):
        return [Item(str(findings.essence), findings.score)]
    assert isinstance(findings, Measurement)
    return [Item(each.plan.name, each.value) for each in findings.values if each.value is not None]


def run_times(before: Interpreter, after: Interpreter) -> Times:
    """Times them in turn, round by round.

    Whatever else the machine does falls on both; the inputs are what they were fed last.
    """
    runs = [max(1, round(ROUND / _timed(each, 3))) for each in (before, after)]
    rounds = [(_timed(before, runs[0]), _timed(after, runs[1])) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    return Times(statistics.median(first), statistics.median(second), statistics.median(b / a for a, b in rounds))


def side_by_side(pair: Pair, names: Sequence[str]) -> Pixels | None:
    """A picture with what each file finds, under its name; None for what is no picture."""
    frame = pair.before.frame
    if not isinstance(frame, Frame):
        return None
    halves = [_half(annotate(frame.pixels, found.findings)) for found in (pair.before, pair.after)]
    captioned = [_captioned(half, name) for half, name in zip(halves, names, strict=True)]
    gap = np.full((captioned[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([captioned[0], gap, captioned[1]])


def _timed(model: Interpreter, count: int) -> float:
    invoke: Callable[[], object] = model.invoke
    start = time.perf_counter()
    for _ in range(count):
        invoke()
    return (time.perf_counter() - start) / count


def _likeness(item: Item, other: Item) -> float:
    """IoU where there are boxes, else 1; 0 for another label."""
    if item.label != other.label:
        return 0.0
    if item.box is None or other.box is None:
        return 1.0
    return _iou(item.box, other.box)


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _around(body: Body) -> Box:
    """The box of a body's points."""
    across, down, _ = zip(*body.points, strict=True)
    return min(across), min(down), max(across), max(down)


def _half(picture: Pixels) -> Pixels:
    if picture.shape[0] <= HEIGHT:
        return picture
    width = round(picture.shape[1] * HEIGHT / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _captioned(picture: Pixels, text: str) -> Pixels:
    strip = np.full((CAPTION, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (4, CAPTION - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, picture])
