"""Guard for an engine's messages: plausible numbers, canonical form, and allowed rate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.contract.messages import Event, Result, State
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.ipc.crash_safe_note import CrashSafeNote
from edge_infer.ipc.messages import Acked, EarlierPlan, EventHandover, StateSnapshot
from edge_infer.plan.records import Plan
from edge_infer.platform.clock import of_this_kernel
from edge_infer.publisher.admission import AdmissionState, RateAdmission, cost
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.known_numbers import KnownNumbers
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.timestamps import Clock, seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message as it leaves the device, the uptime of its capture, and the bytes to store in the outbox."""

    message: Result | Event
    at: float | None
    payload: bytes


class ResultGuard:
    """Checks the messages of an engine, before `Egress` prepares them for the broker."""

    def __init__(self, egress: Egress, clock: Clock, note: CrashSafeNote | None = None) -> None:
        """In ``note`` each publisher leaves the state of the rate limits for the next publisher."""
        self._egress = egress
        self._clock = clock
        self._numbers = KnownNumbers()
        self._note = note
        self._noted = b"" if note is None else note.read() or b""
        self._admission = RateAdmission(_earlier(self._noted))
        self._applied = False
        """Whether there is a plan. Without one the levels of the previous publisher must stay in the note."""

    def apply(self, plan: Plan, earlier: EarlierPlan | None = None, resting: Collection[str] = ()) -> None:
        """Set the plan.

        ``earlier`` is the previous plan, for a new publisher; ``resting`` are pipelines that do not run.
        """
        now = self._clock.uptime()
        if earlier is not None:
            self._numbers.apply(earlier.plan, now)
            self._admission.know(earlier.plan, earlier.replaced)
        self._numbers.apply(plan, now if earlier is None else earlier.replaced)
        self._admission.apply(plan, now, resting)
        self._applied = True

    def recall(self, begun: Iterable[EventHandover]) -> None:
        """Learn the start times of events that an earlier process admitted."""
        for each in begun:
            if each.at is not None and of_this_kernel(each.message.boot):
                with suppress(WireError):  # a date that is none, from a compromised process
                    self._numbers.recall(each.pipeline, each.message, each.at)

    def knows(self, pipeline: str) -> bool:
        """Return whether this or an earlier plan has such a pipeline."""
        return self._admission.knows(pipeline)

    def engine_started(self, boot: str) -> None:
        """Record that an engine starts now: its numbers begin at 0, and nothing of an earlier plan is on its way."""
        self._numbers.fresh = boot
        self._admission.settle(math.inf)

    def save(self) -> None:
        """Store the state of the rate limits. Call it before a message is sent that counts against them."""
        self._admission.settle(self._clock.uptime())
        if self._note is not None and self._applied and (noted := dumps(self._admission.state())) != self._noted:
            self._note.write(noted)
            self._noted = noted

    def acked(self, acked: Acked) -> None:
        """Record that messages are safe, so that no later publisher admits them again."""
        self._admission.acked(MessageSeries(acked.pipeline, acked.boot, acked.kind), acked.seq)

    def engine_rested(self, boot: str, *, fresh: bool) -> bool:
        """Give an engine its full budgets once, and a ``fresh`` one only the current plan; return whether it did."""
        rested = self._admission.engine_rested(boot)
        if rested and fresh:
            self._numbers.engine_rested()
        return rested

    def admit(
        self,
        series: MessageSeries,
        message: Result | Event,
        at: float | None,
        *,
        highest: int,
        is_open: Callable[[str, Event], bool],
    ) -> Admitted | str:
        """Return the message in its published form or, if it is rejected, the reason for the loss, which is logged.

        ``highest`` is the highest known sequence number of the series. ``is_open`` returns whether an event, in its
        published form, ends one that is known to be open.
        """
        place, message = Place(series.kind, series.pipeline), _without_marks(message)
        at = self._captured(series.pipeline, series.boot, series.kind, at)
        moment = self._clock.uptime() if at is None else at
        self._admission.settle(self._clock.uptime())
        price = cost(message, begun=is_open(series.pipeline, message)) if isinstance(message, Event) else 1
        if not self._admission.affords(series, message.seq, moment, highest=highest, cost=price):
            return "rate"  # the guard records nothing of this message
        made = self._numbers.made(series.pipeline, message, moment)
        try:
            if isinstance(message, Result):
                message = self._numbers.result(series.pipeline, message, made)
            else:
                dated = seconds(message.ts) if at is None else at
                message = self._numbers.event(series.pipeline, message, dated, made)
        except WireError as error:
            self._egress.reject(place, error)
            self._admission.charge(series, message.seq, highest=highest)
            return "rejected"
        payload = self._egress.admit(place, message, at, made=made)
        if payload is None:
            self._admission.charge(series, message.seq, highest=highest)
            return "rejected"
        price = cost(message, begun=is_open(series.pipeline, message)) if isinstance(message, Event) else 1
        if not self._admission.admits(series, message.seq, moment, highest=highest, cost=price):
            return "rate"
        if isinstance(message, Event):
            self._numbers.taken(series.pipeline, message, moment)
        return Admitted(message, at, payload)

    def wait(self, pipeline: str) -> float:
        """Return the seconds until a state of a pipeline may be set. If it is 0, the state is counted."""
        now = self._clock.uptime()
        self._admission.settle(now)
        return self._admission.wait(pipeline, now)

    def state(self, snapshot: StateSnapshot) -> tuple[State, float | None]:
        """Return the state in the form that leaves the device, and the uptime of its capture; raises `WireError`."""
        state, pipeline = snapshot.state, snapshot.pipeline
        at = self._captured(pipeline, state.boot, "state", snapshot.at)
        # An engine may claim an old capture time for a state at no cost, so the time of arrival selects its plan.
        now = self._clock.uptime()
        return self._numbers.state(pipeline, state, seconds(state.ts) if at is None else at, now), at

    def _captured(self, pipeline: str, boot: str, kind: str, at: float | None) -> float | None:
        """Return a plausible capture time. For an engine that ran before the last reboot, return it unchecked."""
        if not of_this_kernel(boot):
            return at
        now = self._clock.uptime()
        return self._numbers.captured(pipeline, kind, now if at is None else at, now)


def _earlier(noted: bytes) -> AdmissionState | None:
    """Return the state of the previous publisher; None if this is the first publisher."""
    try:
        return decode_json(AdmissionState, noted) if noted else None
    except WireError as error:
        log.warning("cannot read the message rates of the previous publisher, so they start afresh: %s", error)
        return AdmissionState()


def _without_marks(message: Result | Event) -> Result | Event:
    """Return an engine's message without the fields that only the publisher may set."""
    if message.replay is not ABSENT:
        message = replace(message, replay=ABSENT)
    if isinstance(message, Event) and message.skipped is not ABSENT:
        message = replace(message, skipped=ABSENT)
    return message
