"""From candidates to findings: threshold, labels, merging, and the way back to the source frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.nms import nms
from edge_infer.engine.geometry import Transform
from edge_infer.engine.records import Boxes, Candidates, Classes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One object; ``box`` is xmin, ymin, xmax, ymax in float pixels of the source frame."""

    label: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """One class of a classification."""

    label: str
    class_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one frame, the best first. ``source`` is its width and height in pixels."""

    objects: tuple[Found, ...]
    source: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Classification:
    """The classes of one frame above the threshold, the best first, at most ``top_k``."""

    classes: tuple[Scored, ...]


Findings: TypeAlias = Detections | Classification


class Postprocess:
    """What of a model's candidates a pipeline wants to know."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._name = plan.name
        self._labels = plan.model.labels
        self._threshold = plan.threshold
        self._top_k = plan.top_k
        self._nms = plan.model.nms
        self._wanted = self._wanted_ids(plan.labels)
        self._warned_label = self._warned_finite = False

    def __call__(self, candidates: Candidates, transform: Transform) -> Findings:
        """The findings of one frame, best first."""
        if candidates.nonfinite and not self._warned_finite:
            self._warned_finite = True
            log.warning(
                "pipeline %s: the model gave %d outputs that are no numbers; they are left out. Is the file damaged?",
                self._name,
                candidates.nonfinite,
            )
        if isinstance(candidates, Boxes):
            return Detections(self._objects(candidates, transform), transform.source)
        return Classification(self._classes(candidates))

    def _objects(self, found: Boxes, transform: Transform) -> tuple[Found, ...]:
        kept = np.flatnonzero((found.scores >= self._threshold) & self._named(found.classes))
        if found.merged:
            kept = kept[np.argsort(-found.scores[kept], kind="stable")][: self._nms.max]
        else:
            kept = kept[nms(found.boxes[kept], found.scores[kept], found.classes[kept], self._nms.iou, self._nms.max)]
        boxes = transform.to_source(found.boxes[kept])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept, boxes = kept[visible], boxes[visible]
        # tolist converts all at once: float() of every number costs ten times as much
        rows = zip(found.classes[kept].tolist(), found.scores[kept].tolist(), boxes.tolist(), strict=True)
        return tuple(Found(self._label(number), number, score, tuple(box)) for number, score, box in rows)

    def _classes(self, found: Classes) -> tuple[Scored, ...]:
        numbers = np.arange(found.scores.size)
        kept = np.flatnonzero((found.scores >= self._threshold) & self._named(numbers))
        kept = kept[np.argsort(-found.scores[kept], kind="stable")][: self._top_k]
        rows = zip(kept.tolist(), found.scores[kept].tolist(), strict=True)
        return tuple(Scored(self._label(number), number, score) for number, score in rows)

    def _named(self, classes: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
        """Which class ids have a label that is wanted. One without a label cannot be published, so it is left out."""
        named: NDArray[np.bool_] = classes >= 0
        if self._labels:
            named &= classes < len(self._labels)
        if not self._warned_label and not named.all():
            self._warned_label = True
            log.warning(
                "pipeline %s: the model found class %d, but it has %d labels, counted from 0; such objects are left "
                "out. Are the labels those of this model?",
                self._name,
                classes[~named][0],
                len(self._labels),
            )
        return named if self._wanted is None else named & np.isin(classes, self._wanted)

    def _wanted_ids(self, labels: Sequence[str] | None) -> list[int] | None:
        if labels is None:
            return None
        return [number for number, label in enumerate(self._labels) if label in labels]

    def _label(self, number: int) -> str:
        return self._labels[number] if self._labels else str(number)
