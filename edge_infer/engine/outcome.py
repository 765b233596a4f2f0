"""What one frame became, ready to leave the engine: findings, stamped, within the bytes that are allowed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from edge_infer.boot import uptime
from edge_infer.codec import ABSENT
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.frame import Captured
from edge_infer.engine.tasks import Essence, Findings, Head, task_class
from edge_infer.messages import Reason, Result, State, timestamp

LARGEST_STATE: Final = 1024
"""Bytes of a state, whatever ``max_payload`` allows a result."""
MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes that are left free for marks that the way to the broker may add."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The findings of one frame and what its payloads begin with."""

    head: Head
    findings: Findings
    room: int
    at: float
    """The uptime of its capture."""

    @property
    def essence(self) -> Essence:
        """What a change is measured by."""
        return self.findings.essence

    def result(self, seq: int) -> Result:
        """The result of this number."""
        return self.findings.result(self.head, seq, self.room)

    def state(self) -> State:
        """What holds now."""
        return self.findings.state(self.head, LARGEST_STATE - MARKS)


class Composer:
    """Makes the outcomes of one pipeline in one boot."""

    def __init__(self, plan: PipelinePlan, boot: str, *, timed: bool = True) -> None:
        """What is not ``timed`` does not say how long it took."""
        self._timed = timed
        self._head = Head("", boot, plan.model.title, plan.model.sha256[:8])
        self._room = plan.max_payload - MARKS
        self._unknown = task_class(plan.model.task).unknown

    def __call__(self, findings: Findings, frame: Captured, now: float) -> Outcome:
        """The outcome of a frame, at ``now`` seconds of the monotonic clock."""
        milliseconds = max(0.0, round((now - frame.monotonic) * 1000.0, 1))
        head = replace(self._head, ts=timestamp(frame.wall), ms=milliseconds if self._timed else ABSENT)
        return Outcome(head, findings, self._room, uptime(frame.monotonic))

    def nothing(self, reason: Reason, wall: float | None = None) -> State:
        """The state while nothing is known, as of now or of a time in seconds since the epoch."""
        head = replace(self._head, ts=timestamp(time.time() if wall is None else wall))
        return head.state(**self._unknown, reason=reason)
