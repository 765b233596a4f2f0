"""Segmentation: the share of the frame that each label fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from edge_infer.contract.codec import FrameRecord
from edge_infer.contract.messages import Result, Segment, State
from edge_infer.contract.precision import segment_rank
from edge_infer.engine.records import Regions
from edge_infer.engine.tasks import Essence, Head, fitted
from edge_infer.engine.tasks.detection import count_state
from edge_infer.engine.tasks.filtering import LabelFilter
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan

MOST: Final = 256
"""Maximum number of labels in a result, even if more would fit. The message schema has the same limit."""


class Filled(FrameRecord, frozen=True):
    """Label and the share of the frame that it fills."""

    label: str
    class_id: int
    share: float


class SegmentationFindings(FrameRecord, frozen=True):
    """Labels of one frame whose share of the frame reaches the threshold, largest share first."""

    segments: tuple[Filled, ...]

    @property
    def essence(self) -> Essence:
        """Labels of the frame."""
        return tuple(sorted((item.label, 1) for item in self.segments))

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the shares."""
        wire = (Segment(item.label, head.precision.place(item.share)) for item in self.segments)
        items = tuple(sorted(wire, key=segment_rank))
        return fitted(lambda kept, more: head.result(seq, "segmentation", segments=kept, more=more), items, room, MOST)

    def state(self, head: Head, room: int) -> State:
        """Return the labels, each with the count 1."""
        return count_state(head, [item.label for item in self.segments], room)


class SegmentationTask:
    """Task that computes the share of the frame that each label fills, without the letterbox bars."""

    unknown: ClassVar[Mapping[str, None]] = {"counts": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._named = LabelFilter(plan)
        self._threshold = plan.threshold

    def __call__(self, found: Regions, transform: Transform, _moment: float) -> SegmentationFindings:
        """Return the labels of one frame, largest share first."""
        self._named.check_finite(found)
        inside = transform.inside(found.classes)
        numbers, counts = np.unique(inside[inside >= 0], return_counts=True)
        shares = counts / inside.size
        kept = np.flatnonzero((shares >= self._threshold) & self._named.wanted(numbers))
        kept = kept[np.argsort(-shares[kept], kind="stable")]
        rows = zip(numbers[kept].tolist(), shares[kept].tolist(), strict=True)
        return SegmentationFindings(tuple(Filled(self._named.label(number), number, share) for number, share in rows))
