"""Outcome of one frame: the findings with a timestamp, from which payloads within the byte limit are built."""

from __future__ import annotations

import time
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, Reason, Result, State, timestamp
from edge_infer.contract.precision import PRECISIONS
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.cascade.sighting import Key
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks import Essence, Findings, Head
from edge_infer.frames.frame import Captured
from edge_infer.plan.outcome_limits import MARKS, CountedLabels
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.clock import uptime

EARLY: Final[Reason] = "starting"
"""Reason for the null state during the warm-up of a tracker."""


class Outcome:
    """The findings of one frame. The payloads are built on demand, because most frames publish nothing."""

    __slots__ = ("_composer", "_frame", "_milliseconds", "_still", "about", "essence", "findings")

    def __init__(
        self, composer: Composer, findings: Findings, frame: Captured, milliseconds: float, *, still: bool
    ) -> None:
        self._composer = composer
        self.findings = findings
        self._frame = frame
        self._milliseconds = milliseconds
        self._still = still
        self.essence: Essence = findings.essence
        """Value compared to detect a change of the result."""
        self.about: Key | None = None if frame.parent is None else frame.parent.key
        """Key of the object that the crop shows; None if the frame is not a crop."""

    @property
    def standing(self) -> Essence:
        """Value compared to detect a change of the state."""
        if isinstance(self.findings, Followed):
            return self.findings.standing if self.findings.warm else EARLY
        return self.essence

    @property
    def at(self) -> float:
        """Uptime in seconds at which the frame was captured."""
        return uptime(self._frame.monotonic)

    def result(self, seq: int) -> Result:
        """Return the result with this sequence number."""
        head = replace(self._head(), still=True) if self._still else self._head()
        return self.findings.result(head, seq, self._composer.room)

    def state(self, since: str | Absent = ABSENT) -> State:
        """Return the current state. During the warm-up it is null, because present objects may not be confirmed yet."""
        if self._early:
            return self._composer.nothing(EARLY, self._frame.wall, since)
        return self._composer.filled(self.findings.state(replace(self._head(), since=since), MAX_MESSAGE_BYTES - MARKS))

    @property
    def _early(self) -> bool:
        return isinstance(self.findings, Followed) and not self.findings.warm

    @property
    def lasting(self) -> Essence:
        """Value that stays the same while the state continues. The state's ``since`` is the time of its last change."""
        return EARLY if self._early else self.essence

    def _head(self) -> Head:
        head = self._composer.head(self._frame.wall, self._milliseconds)
        return (
            head
            if self._frame.parent is None
            else replace(head, parent=self._frame.parent.wire(self._composer.precision))
        )


class Composer:
    """Builds the outcomes of one pipeline of one engine."""

    def __init__(self, plan: PipelinePlan, boot: str, *, timed: bool = True) -> None:
        """Without ``timed``, payloads omit the processing time."""
        self._timed = timed
        self._boot, self._title, self._sha = boot, plan.model.title, plan.model.sha256[:8]
        self.room = plan.max_payload - MARKS
        self.precision = PRECISIONS[plan.detail]
        self._unknown: dict[str, None] = {plan.state_key: None}
        self._counted = CountedLabels.of(plan)

    def __call__(self, findings: Findings, frame: Captured, now: float, *, still: bool = False) -> Outcome:
        """Return the outcome of a frame at ``now`` (monotonic, seconds); ``still``: the model did not run on it."""
        return Outcome(self, findings, frame, (now - frame.monotonic) * 1000.0, still=still)

    def head(self, wall: float, milliseconds: float | Absent) -> Head:
        """Return the common fields of a payload for a time in seconds since the epoch."""
        ms = self.precision.milliseconds(milliseconds) if self._timed and milliseconds is not ABSENT else ABSENT
        return Head(timestamp(wall), self._boot, self._title, self._sha, ms, precision=self.precision)

    def known(self, answers: Answers, frame: Captured, since: str | Absent = ABSENT) -> State:
        """Return the state of a cascade after a frame. During the parent's warm-up it is null."""
        if not answers.warm:
            return self.nothing(EARLY, frame.wall, since)
        head = replace(self.head(frame.wall, ABSENT), since=since)
        return self.filled(answers.state(head, MAX_MESSAGE_BYTES - MARKS))

    def filled(self, state: State) -> State:
        """Return the state with a count of zero for each configured label that is missing, if they fit."""
        return self._counted.filled(state)

    def nothing(self, reason: Reason, wall: float | None = None, since: str | Absent = ABSENT) -> State:
        """Return the null state with a reason, for now or for a time in seconds since the epoch."""
        head = self.head(time.time() if wall is None else wall, ABSENT)
        return replace(head, since=since).state(**self._unknown, reason=reason)
