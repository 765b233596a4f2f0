"""What one frame became, ready to leave the engine: findings, stamped, within the bytes that are allowed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from edge_infer.boot import uptime
from edge_infer.codec import ABSENT, Absent
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.cascade.sighting import Key
from edge_infer.engine.frame import Captured
from edge_infer.engine.tasks import Essence, Findings, Head
from edge_infer.messages import Reason, Result, State, timestamp

LARGEST_STATE: Final = 1024
"""Bytes of a state, whatever ``max_payload`` allows a result."""
MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes that are left free for marks that the way to the broker may add."""


class Outcome:
    """The findings of one frame. What its payloads begin with is made when one is: of most frames nothing is said."""

    __slots__ = ("_composer", "_findings", "_frame", "_milliseconds", "_still", "about", "essence")

    def __init__(
        self, composer: Composer, findings: Findings, frame: Captured, milliseconds: float, *, still: bool
    ) -> None:
        self._composer = composer
        self._findings = findings
        self._frame = frame
        self._milliseconds = milliseconds
        self._still = still
        self.essence: Essence = findings.essence
        """What a change of the result is measured by."""
        self.about: Key | None = None if frame.parent is None else frame.parent.key
        """Of which object it is, where that is a crop."""

    @property
    def standing(self) -> Essence:
        """What a change of the state is measured by."""
        return self._findings.standing if isinstance(self._findings, Followed) else self.essence

    @property
    def at(self) -> float:
        """The uptime of its capture."""
        return uptime(self._frame.monotonic)

    def result(self, seq: int) -> Result:
        """The result of this number."""
        head = replace(self._head(), still=True) if self._still else self._head()
        return self._findings.result(head, seq, self._composer.room)

    def state(self) -> State:
        """What holds now."""
        return self._findings.state(self._head(), LARGEST_STATE - MARKS)

    def _head(self) -> Head:
        head = self._composer.head(self._frame.wall, self._milliseconds)
        return head if self._frame.parent is None else replace(head, parent=self._frame.parent.wire())


class Composer:
    """Makes the outcomes of one pipeline in one boot."""

    def __init__(self, plan: PipelinePlan, boot: str, *, timed: bool = True) -> None:
        """What is not ``timed`` does not say how long it took."""
        self._timed = timed
        self._boot, self._title, self._sha = boot, plan.model.title, plan.model.sha256[:8]
        self.room = plan.max_payload - MARKS
        self._unknown: dict[str, None] = {plan.state_key: None}

    def __call__(self, findings: Findings, frame: Captured, now: float, *, still: bool = False) -> Outcome:
        """The outcome of a frame, at ``now`` seconds of the monotonic clock; ``still``: it was not looked at."""
        return Outcome(self, findings, frame, max(0.0, round((now - frame.monotonic) * 1000.0, 1)), still=still)

    def head(self, wall: float, milliseconds: float | Absent) -> Head:
        """What a payload begins with, of a time in seconds since the epoch."""
        return Head(timestamp(wall), self._boot, self._title, self._sha, milliseconds if self._timed else ABSENT)

    def known(self, answers: Answers, frame: Captured) -> State:
        """The state of a cascade after a frame."""
        return answers.state(self.head(frame.wall, ABSENT), LARGEST_STATE - MARKS)

    def nothing(self, reason: Reason, wall: float | None = None) -> State:
        """The state while nothing is known, as of now or of a time in seconds since the epoch."""
        head = self.head(time.time() if wall is None else wall, ABSENT)
        return head.state(**self._unknown, reason=reason)
