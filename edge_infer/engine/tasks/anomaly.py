"""Whether a frame is as frames usually are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.geometry import Transform
from edge_infer.engine.records import Distance
from edge_infer.engine.tasks import Essence, Head
from edge_infer.errors import ModelError
from edge_infer.messages import Anomaly, Result, State


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one frame is from normal, and from where on that is anomalous."""

    score: float
    threshold: float

    @property
    def essence(self) -> Essence:
        """Normal or anomalous."""
        return self._wire().state

    def result(self, head: Head, seq: int, room: int) -> Result:
        """The score; it always fits."""
        del room
        return head.result(seq, "anomaly", anomaly=self._wire())

    def state(self, head: Head, room: int) -> State:
        """The same."""
        del room
        return head.state(anomaly=self._wire())

    def _wire(self) -> Anomaly:
        anomalous = self.score >= self.threshold
        return Anomaly(round(self.score, 3), round(self.threshold, 3), "anomalous" if anomalous else "normal")


class AnomalyTask:
    """Compares the distance with the threshold."""

    unknown: ClassVar[Mapping[str, None]] = {"anomaly": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._threshold = plan.threshold

    def __call__(self, found: Distance, _: Transform, _moment: float) -> Deviation:
        """Raises `ModelError` when the model gave no number: neither normal nor anomalous would be true."""
        if not math.isfinite(found.score):
            raise ModelError("the model gave no number; is the file damaged?")
        return Deviation(found.score, self._threshold)
