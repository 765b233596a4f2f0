"""Compares two files of one network on the same inputs: kept findings, their differences, and the time of a run."""

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
"""Minimum IoU of two boxes with one label that count as the same object."""
NOTICEABLE: Final = 0.001
"""Minimum change of a score or an IoU that is reported."""
ROUNDS: Final = 15
ROUND: Final = 0.05
"""Seconds of one round of one file."""
HEIGHT: Final = 720
"""Maximum height of a drawn picture in pixels."""
CAPTION: Final = 30
GAP: Final = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One finding of any task; ``number`` is its score, share or value."""

    label: str
    number: float
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The findings of both files in one input.

    ``overlaps`` (IoU) and ``differences`` (after minus before) belong to the ``kept`` items.
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
        """Whether both files find the same labels at the same places."""
        return not self.missing and not self.new

    @property
    def badness(self) -> tuple[float, float]:
        """Sort key of the worst inputs: the number of missing or new items, then the largest change of the others."""
        moved = [1 - overlap for overlap in self.overlaps] + [abs(difference) for difference in self.differences]
        return float(self.missing + self.new), max(moved, default=0.0)


class Tally:
    """The sum of pairs. Only the worst pairs themselves are kept, because pictures are large."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.inputs = self.same = self.kept = self.missing = self.new = 0
        self.overlaps: list[float] = []
        self.differences: list[float] = []
        self.worst: list[Pair] = []

    def add(self, pair: Pair) -> None:
        """Add the pair of one more input."""
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
    """Median seconds of a run of each file, and the median ratio of two runs in the same round."""

    before: float
    after: float
    ratio: float


def compare(before: FileFindings, after: FileFindings) -> Pair:
    """Pair every item with the unpaired item of its label that overlaps most; without boxes, only the label counts."""
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
    """Return the findings of any task, best first."""
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
    """Measure both models in interleaved rounds.

    So other load on the machine affects both. The inputs are those that the models got last.
    """
    runs = [max(1, round(ROUND / _timed(each, 3))) for each in (before, after)]
    rounds = [(_timed(before, runs[0]), _timed(after, runs[1])) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    return Times(statistics.median(first), statistics.median(second), statistics.median(b / a for a, b in rounds))


def side_by_side(pair: Pair, names: Sequence[str]) -> Pixels | None:
    """Return a picture with the findings of each file below its name; None if the input is no picture."""
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
    """Return the IoU of two items with boxes, 1 without boxes, and 0 for different labels."""
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
    """Return the box around a body's points."""
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
