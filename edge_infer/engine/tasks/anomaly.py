"""Anomaly detection: decides whether a frame is normal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from edge_infer.contract.codec import FrameRecord
from edge_infer.contract.messages import Result, State
from edge_infer.contract.precision import FULL
from edge_infer.engine.records import Distance
from edge_infer.engine.tasks import Essence, Head
from edge_infer.errors import ModelError
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan


class Deviation(FrameRecord, frozen=True):
    """Distance of one frame from normal, and the threshold from which on it is an anomaly."""

    score: float
    threshold: float

    @property
    def essence(self) -> Essence:
        """Whether the frame is normal or anomalous."""
        return FULL.anomaly(self.score, self.threshold).state

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the score; it always fits."""
        del room
        return head.result(seq, "anomaly", anomaly=head.precision.anomaly(self.score, self.threshold))

    def state(self, head: Head, room: int) -> State:
        """Return the score as a state."""
        del room
        return head.state(anomaly=head.precision.anomaly(self.score, self.threshold))


class AnomalyTask:
    """Task that compares the distance with the threshold."""

    unknown: ClassVar[Mapping[str, None]] = {"anomaly": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._threshold = plan.threshold

    def __call__(self, found: Distance, _: Transform, _moment: float) -> Deviation:
        """Return the deviation; raise `ModelError` for a non-finite score, which is neither normal nor anomalous."""
        if not math.isfinite(found.score):
            raise ModelError("the model returned no number; is the file damaged?")
        return Deviation(found.score, self._threshold)
