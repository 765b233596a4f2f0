"""Poses: bodies and their keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from edge_infer.contract.codec import FrameRecord
from edge_infer.contract.messages import Pose, Result, State
from edge_infer.contract.precision import Precision, pose_rank
from edge_infer.engine.records import Bodies
from edge_infer.engine.tasks import Essence, Head, fitted
from edge_infer.engine.tasks.detection import count_state
from edge_infer.engine.tasks.filtering import LabelFilter, nms
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan

MOST: Final = 100
"""Maximum number of bodies in a result, even if more would fit. The message schema has the same limit."""


class Body(FrameRecord, frozen=True):
    """One pose; ``points`` are x, y in float pixels of the source frame, and a score."""

    score: float
    points: tuple[tuple[float, float, float], ...]


class Poses(FrameRecord, frozen=True):
    """Bodies of one frame, best first; ``source`` is the width and height of the frame in pixels."""

    bodies: tuple[Body, ...]
    source: tuple[int, int]
    label: str

    @property
    def essence(self) -> Essence:
        """Number of bodies."""
        return ((self.label, len(self.bodies)),) if self.bodies else ()

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the poses in fractions of the frame; a point outside is clamped to its edge."""
        precision = head.precision
        poses = (Pose(precision.score(body.score), self._points(body, precision)) for body in self.bodies)
        items = tuple(sorted(poses, key=pose_rank))
        return fitted(lambda kept, more: head.result(seq, "pose", poses=kept, more=more), items, room, MOST)

    def state(self, head: Head, room: int) -> State:
        """Return the number of bodies."""
        return count_state(head, [self.label] * len(self.bodies), room)

    def _points(self, body: Body, precision: Precision) -> tuple[tuple[float, float, float], ...]:
        (width, height), place = self.source, precision.place
        return tuple((place(x / width), place(y / height), precision.score(score)) for x, y, score in body.points)


class PoseTask:
    """Task that applies threshold and merging, and maps points back to the source frame."""

    unknown: ClassVar[Mapping[str, None]] = {"counts": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._named = LabelFilter(plan)
        self._threshold = plan.threshold
        self._nms = plan.model.nms
        self._label = plan.model.labels[0] if plan.model.labels else "0"

    def __call__(self, found: Bodies, transform: Transform, _moment: float) -> Poses:
        """Return the bodies of one frame, best first."""
        self._named.check_finite(found)
        kept = np.flatnonzero(found.scores >= self._threshold)
        if found.boxes is None:
            kept = kept[np.argsort(-found.scores[kept], kind="stable")][: self._nms.max]
        else:
            same = np.zeros(len(kept), np.int32)
            kept = kept[nms(found.boxes[kept], found.scores[kept], same, self._nms.iou, self._nms.max)]
        bodies = []
        for score, points in zip(found.scores[kept].tolist(), found.points[kept], strict=True):
            places = transform.points_to_source(points[:, :2]).tolist()
            rows = zip(places, points[:, 2].tolist(), strict=True)
            bodies.append(Body(score, tuple((x, y, seen) for (x, y), seen in rows)))
        return Poses(tuple(bodies), transform.source, self._label)
