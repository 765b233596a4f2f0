"""The answer that is explained, and its strength when parts of the input are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import Look
from edge_infer.engine.records import Bodies, Boxes, Classes, Distance, Numbers, Regions
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import MOST, ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.errors import InputError
from edge_infer.plan.records import ModelPlan, PipelinePlan

FLOOR: Final = 0.05
"""Minimum score of boxes and bodies that count in masked inputs. Even weak candidates contribute to the answer."""
VISIBLE: Final = 0.3
"""Minimum score of a keypoint that belongs to the outline of a body."""
REACH: Final = 0.1
"""Distance of a keypoint, as a share of the body's size, at which its similarity has fallen to 0.6."""
BACKGROUND: Final = "background"
"""Label of segments that is explained only on request."""

Box: TypeAlias = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in fractions of the picture."""
Item = TypeVar("Item")


class ExplainedAnswer(Protocol):
    """One answer of a model."""

    @property
    def label(self) -> str:
        """Its label, or the name of a value."""

    @property
    def score(self) -> float:
        """Its score for the whole input: 0..1, a share of the picture, a distance or a measured value."""

    @property
    def box(self) -> Box | None:
        """Its box in the part of the picture that the model uses; None if the answer has no box."""

    def strength(self, look: Look) -> float:
        """Return the strength of this answer among the candidates found in another input."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Choice among the answers: the best one with this label and this point (fractions x, y) in its box."""

    label: str | None = None
    point: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """An object. Its strength is D-RISE's similarity: overlap times score, of the best candidate of its class."""

    label: str
    score: float
    box: Box
    class_id: int
    place: NDArray[np.float64]  # in fractions of the model's input

    def strength(self, look: Look) -> float:
        """Return the best candidate's overlap (IoU) times its score."""
        found, _ = look
        assert isinstance(found, Boxes)
        same = found.classes == self.class_id
        if not same.any():
            return 0.0
        boxes = found.boxes[same].astype(np.float64)
        low, high = np.maximum(boxes[:, :2], self.place[:2]), np.minimum(boxes[:, 2:], self.place[2:])
        common = np.clip(high - low, 0.0, None).prod(axis=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (self.place[2:] - self.place[:2]).prod()
        return float((common / np.maximum(areas - common, 1e-12) * found.scores[same]).max())


@dataclass(frozen=True, slots=True)
class ClassAnswer:
    """A class of the whole input. Its strength is its score."""

    label: str
    score: float
    class_id: int
    box: Box | None = None

    def strength(self, look: Look) -> float:
        """Return the score of the class."""
        found, _ = look
        assert isinstance(found, Classes)
        return float(found.scores[self.class_id])


@dataclass(frozen=True, slots=True)
class RegionAnswer:
    """The area that a label fills. Its strength is the overlap (IoU) with the area found in the other input."""

    label: str
    score: float
    box: Box
    class_id: int
    area: NDArray[np.bool_]

    def strength(self, look: Look) -> float:
        """Return the overlap of the areas."""
        found, transform = look
        assert isinstance(found, Regions)
        other = transform.inside(found.classes) == self.class_id
        together = np.count_nonzero(self.area | other)
        return float(np.count_nonzero(self.area & other) / together) if together else 0.0


@dataclass(frozen=True, slots=True)
class BodyAnswer:
    """A pose. Its strength is the mean over its points of score times closeness, as in COCO's keypoint similarity."""

    label: str
    score: float
    box: Box
    points: NDArray[np.float64]  # [points, 2] in fractions of the model's input

    def strength(self, look: Look) -> float:
        """Return the best body's mean of score times closeness."""
        found, _ = look
        assert isinstance(found, Bodies)
        if not len(found.points):
            return 0.0
        size = np.ptp(self.points, axis=0).prod() + 1e-6
        apart = ((found.points[:, :, :2] - self.points) ** 2).sum(axis=2)
        close = np.exp(-apart / (2 * REACH**2 * size)) * found.points[:, :, 2]
        return float(np.nan_to_num(close.mean(axis=1)).max())


@dataclass(frozen=True, slots=True)
class NumberAnswer:
    """A measured value, or the distance from normal (``position`` None). Its strength is that number."""

    label: str
    score: float
    position: int | None = None
    scale: float = 1.0
    box: Box | None = None

    def strength(self, look: Look) -> float:
        """Return the number; 0 if it is not finite."""
        found, _ = look
        if self.position is None:
            assert isinstance(found, Distance)
            return float(np.nan_to_num(found.score))
        assert isinstance(found, Numbers)
        return float(np.nan_to_num(found.values[self.position] * self.scale))


def sampling_plan(model: ModelPlan, threshold: float) -> PipelinePlan:
    """Return the plan with which a model is loaded, so that weak candidates of masked inputs are kept."""
    if model.task in ("detection", "pose"):
        threshold = min(threshold, FLOOR)
        model = replace(model, threshold=threshold)
    elif model.task == "classification":
        threshold = 0.0
    return PipelinePlan("explain", "explain", model, threshold, top_k=MOST)


def choose(findings: Findings, look: Look, model: ModelPlan, threshold: float, wanted: Wanted) -> ExplainedAnswer:
    """Return the best wanted answer; raises `InputError`, without the name of the input, if there is no such answer."""
    if isinstance(findings, Detections):
        return _box(findings, look, threshold, wanted)
    if wanted.point is not None:
        raise InputError(f"--at chooses among boxes; {model.title} finds none")
    if isinstance(findings, ClassificationFindings):
        scored = _first(findings.classes, wanted, [item.label for item in findings.classes])
        if wanted.label is None and scored.score < threshold:
            raise InputError(_nothing(threshold, f"{scored.label} {scored.score:.3g}"))
        return ClassAnswer(scored.label, scored.score, scored.class_id)
    if isinstance(findings, SegmentationFindings):
        return _region(findings, look, threshold, wanted)
    if isinstance(findings, Poses):
        return _body(findings, look, threshold, wanted)
    if isinstance(findings, Measurement):
        value = _first(findings.values, wanted, [item.plan.name for item in findings.values])
        return NumberAnswer(value.plan.name, value.value or 0.0, findings.values.index(value), value.plan.scale)
    assert isinstance(findings, Deviation)
    return NumberAnswer("anomaly", findings.score)


def _box(findings: Detections, look: Look, threshold: float, wanted: Wanted) -> BoxAnswer:
    width, height = findings.source
    there = list(findings.objects)
    if wanted.point is not None:
        x, y = wanted.point[0] * width, wanted.point[1] * height
        there = [each for each in there if each.box[0] <= x <= each.box[2] and each.box[1] <= y <= each.box[3]]
    objects = [each for each in there if each.score >= threshold]
    if not objects:
        weaker = f"{there[0].label} {there[0].score:.3g}" if there else ""
        raise InputError(_nothing(threshold, weaker, wanted.point) + _elsewhere(findings, threshold, wanted))
    found = _first(objects, wanted, [each.label for each in objects])
    xmin, ymin, xmax, ymax = found.box
    place = look[1].to_input([found.box])[0]
    box = (xmin / width, ymin / height, xmax / width, ymax / height)
    return BoxAnswer(found.label, found.score, box, found.class_id, place)


def _elsewhere(findings: Detections, threshold: float, wanted: Wanted) -> str:
    """Return a hint with the position of the best object outside the wanted point; empty without such an object."""
    best = next((each for each in findings.objects if each.score >= threshold), None)
    if wanted.point is None or best is None:
        return ""
    (xmin, ymin, xmax, ymax), (width, height) = best.box, findings.source
    middle = f"{(xmin + xmax) / 2 / width:.2g},{(ymin + ymax) / 2 / height:.2g}"
    return f"; the best object elsewhere is {best.label} {best.score:.3g} at {middle}"


def _region(findings: SegmentationFindings, look: Look, threshold: float, wanted: Wanted) -> RegionAnswer:
    regions, transform = look
    assert isinstance(regions, Regions)
    rest = [each for each in findings.segments if each.label != BACKGROUND]
    segments = list(findings.segments) if wanted.label is not None else rest or list(findings.segments)
    if not segments:
        raise InputError(_nothing(threshold, ""))
    found = _first(segments, wanted, [each.label for each in segments])
    area = transform.inside(regions.classes) == found.class_id
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    (height, width) = area.shape
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return RegionAnswer(found.label, found.share, box, found.class_id, area)


def _body(findings: Poses, look: Look, threshold: float, wanted: Wanted) -> BodyAnswer:
    bodies = [each for each in findings.bodies if each.score >= threshold]
    if not bodies:
        best = findings.bodies[0] if findings.bodies else None
        raise InputError(_nothing(threshold, f"{findings.label} {best.score:.3g}" if best else ""))
    body = _first(bodies, wanted, [findings.label] * len(bodies))
    points = np.array(body.points)
    places = look[1].to_input(np.concatenate((points[:, :2], points[:, :2]), axis=1))[:, :2]
    sure = points[:, 2] >= VISIBLE
    outline = (points[sure] if sure.any() else points)[:, :2] / findings.source
    (xmin, ymin), (xmax, ymax) = np.clip(outline.min(axis=0), 0, 1), np.clip(outline.max(axis=0), 0, 1)
    return BodyAnswer(findings.label, body.score, (float(xmin), float(ymin), float(xmax), float(ymax)), places)


def _first(items: Sequence[Item], wanted: Wanted, labels: Sequence[str]) -> Item:
    """Return the first item with the wanted label; the items are sorted, the best first."""
    if wanted.label is None:
        return items[0]
    for item, label in zip(items, labels, strict=True):
        if label == wanted.label:
            return item
    known = ", ".join(dict.fromkeys(labels[:10])) or "nothing"
    raise InputError(f"the model does not find {wanted.label!r} in this input; it finds {known}")


def _nothing(threshold: float, best: str, point: tuple[float, float] | None = None) -> str:
    where = "" if point is None else f" at {point[0]:g},{point[1]:g}"
    told = f"the model finds nothing{where} above its threshold of {threshold:g}, so there is no answer to explain"
    return told + (f"; --threshold admits weaker ones, of which the best is {best}" if best else "")
