"""Object detection: objects and their positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from edge_infer.contract.codec import ABSENT, FrameRecord, dumps
from edge_infer.contract.messages import DetectedObject, FractionBox, Result, State
from edge_infer.contract.precision import Precision, object_rank
from edge_infer.engine.records import Boxes
from edge_infer.engine.tasks import Essence, Head, fitted, fitting
from edge_infer.engine.tasks.filtering import LabelFilter, nms
from edge_infer.frames.geometry import Box, Transform
from edge_infer.plan.records import PipelinePlan

MOST: Final = 1000
"""Maximum number of objects in a result, even if more would fit. The message schema has the same limit."""
EACH: Final = len(
    '{"label":"","score":0.123,"box":[0.1234,0.1234,0.1234,0.1234],"share":0.1234,"id":9007199254740992},'
)
"""Maximum bytes of an object, without its label."""


class Detection(FrameRecord, frozen=True):
    """One object; ``box`` is xmin, ymin, xmax, ymax in float pixels of the source frame."""

    label: str
    class_id: int
    score: float
    box: Box
    share: float | None = None
    number: int | None = None  # id of the object, if objects are tracked
    parent: int | None = None  # the id of the cropped object in which it was found


class Detections(FrameRecord, frozen=True):
    """Objects of one frame, best first; ``source`` is the width and height of the frame in pixels.

    ``left_out`` holds labels above the threshold that the pipeline does not report, each with its best score.
    """

    objects: tuple[Detection, ...]
    source: tuple[int, int]
    left_out: tuple[tuple[str, float], ...] = ()

    @property
    def essence(self) -> Essence:
        """Counts by label."""
        return tuple(sorted(Counter(item.label for item in self.objects).items())) if self.objects else ()

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the objects in fractions of the frame."""
        items = tuple(sorted((self._wire(item, head.precision) for item in self.objects), key=object_rank))
        return fitted(
            lambda kept, more: head.result(seq, "detection", objects=kept, more=more), items, room, MOST, EACH
        )

    def state(self, head: Head, room: int) -> State:
        """Return the counts by label. If not all fit, only the most frequent labels are included."""
        return count_state(head, [item.label for item in self.objects], room)

    def _wire(self, item: Detection, precision: Precision) -> DetectedObject:
        box = precision.box(fractions(item.box, self.source))
        share = ABSENT if item.share is None else precision.place(item.share)
        return DetectedObject(
            item.label, precision.score(item.score), box, share, item.number or ABSENT, item.parent or ABSENT
        )


def fractions(box: Box, size: tuple[int, int]) -> FractionBox:
    """Return a box of pixels as fractions of a frame of this width and height, unrounded."""
    (xmin, ymin, xmax, ymax), (width, height) = box, size
    return xmin / width, ymin / height, xmax / width, ymax / height


def count_state(head: Head, labels: list[str], room: int) -> State:
    """Return a state of counts sorted by label.

    If not all fit, the rarest labels are dropped and counted in ``more``.
    """
    counts = Counter(labels)
    room -= len(dumps(head.state(counts={})))
    sizes = (len(dumps({label: number})) - 1 for label, number in counts.most_common())
    kept = fitting(sizes, len(counts), room)
    chosen = dict(sorted(counts.most_common(kept)))
    return head.state(counts=chosen, more=len(counts) - kept or ABSENT)


class DetectionTask:
    """Task that applies threshold, labels and merging of boxes, and maps them back to the source frame."""

    unknown: ClassVar[Mapping[str, None]] = {"counts": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._named = LabelFilter(plan)
        self._threshold, self._floor = plan.threshold, plan.floor
        self._nms = plan.model.nms

    def __call__(self, found: Boxes, transform: Transform, _moment: float) -> Detections:
        """Return the objects of one frame, best first. Objects below the threshold are included for tracking only."""
        self._named.check_finite(found)
        if not len(found.scores):
            return Detections((), transform.source)
        kept = np.flatnonzero((found.scores >= self._floor) & self._named.wanted(found.classes))
        if found.merged:
            kept = kept[np.argsort(-found.scores[kept], kind="stable")][: self._nms.max]
        else:
            kept = kept[nms(found.boxes[kept], found.scores[kept], found.classes[kept], self._nms.iou, self._nms.max)]
        boxes = transform.to_source(found.boxes[kept])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept, boxes = kept[visible], boxes[visible]
        shares = [None] * len(kept) if found.shares is None else found.shares[kept].tolist()
        # tolist converts all numbers at once; float() for each number takes ten times as long
        rows = zip(found.classes[kept].tolist(), found.scores[kept].tolist(), boxes.tolist(), shares, strict=True)
        objects = tuple(
            Detection(self._named.label(number), number, score, tuple(box), share) for number, score, box, share in rows
        )
        return Detections(objects, transform.source, self._named.left_out(found.classes, found.scores, self._threshold))
