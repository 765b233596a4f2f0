"""The guard of an engine's messages: their numbers are plausible, their form is canonical, their rate is allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.contract.messages import Event, Result, State
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.ipc.crash_safe_note import CrashSafeNote
from edge_infer.ipc.messages import Acked, StateSnapshot
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
    """A message as it leaves, the uptime of its capture, and the bytes to keep in the outbox."""

    message: Result | Event
    at: float | None
    payload: bytes


class ResultGuard:
    """Checks what an engine hands over, before `Egress` keeps it for the broker."""

    def __init__(self, egress: Egress, clock: Clock, note: CrashSafeNote | None = None) -> None:
        """``note`` is what a publisher before has left of the rates, and what the next one finds."""
        self._egress = egress
        self._clock = clock
        self._numbers = KnownNumbers()
        self._note = note
        self._noted = b"" if note is None else note.read() or b""
        self._admission = RateAdmission(_earlier(self._noted))

    def apply(self, plan: Plan) -> None:
        """Use a plan from now on."""
        self._numbers.apply(plan)
        self._admission.apply(plan, self._clock.uptime())

    def save(self) -> None:
        """Note what is left of the rates, before anything of it is sent."""
        if self._note is not None and (noted := dumps(self._admission.state())) != self._noted:
            self._note.write(noted)
            self._noted = noted

    def acked(self, acked: Acked) -> None:
        """Record what the engine has forgotten."""
        self._admission.acked(MessageSeries(acked.pipeline, acked.boot, acked.kind), acked.seq)

    def engine_rested(self) -> None:
        """Give a new engine its full budgets."""
        self._admission.engine_rested()

    def admit(
        self,
        series: MessageSeries,
        message: Result | Event,
        at: float | None,
        *,
        highest: int,
        is_open: Callable[[str, Event], bool],
    ) -> Admitted | str:
        """Return what of a message leaves, or the reason for which it counts as lost; a rejection is logged.

        ``highest`` is the highest known number of the series; ``is_open``: whether an event, as it
        leaves, ends one that is known to be open.
        """
        place, message = Place(series.kind, series.pipeline), _without_marks(message)
        at = self._captured(series.pipeline, series.boot, series.kind, at)
        moment = self._clock.uptime() if at is None else at
        price = cost(message, begun=is_open(series.pipeline, message)) if isinstance(message, Event) else 1
        if not self._admission.affords(series, message.seq, moment, highest=highest, cost=price):
            return "rate"  # nothing is learned from it
        try:
            if isinstance(message, Result):
                message = self._numbers.result(series.pipeline, message)
            else:
                message = self._numbers.event(series.pipeline, message, seconds(message.ts) if at is None else at)
        except WireError as error:
            self._egress.reject(place, error)
            self._admission.charge(series)
            return "rejected"
        payload = self._egress.admit(place, message, at)
        if payload is None:
            self._admission.charge(series)
            return "rejected"
        price = cost(message, begun=is_open(series.pipeline, message)) if isinstance(message, Event) else 1
        if not self._admission.admits(series, message.seq, moment, highest=highest, cost=price):
            return "rate"
        if isinstance(message, Event):
            self._numbers.taken(series.pipeline, message)
        return Admitted(message, at, payload)

    def wait(self, pipeline: str) -> float:
        """Return the seconds until a state of a pipeline may be set; 0 if now, which is then counted."""
        return self._admission.wait(pipeline, self._clock.uptime())

    def state(self, snapshot: StateSnapshot) -> tuple[State, float | None]:
        """Return what of a state leaves, and the time of its capture; raises `WireError`."""
        state, pipeline = snapshot.state, snapshot.pipeline
        at = self._captured(pipeline, state.boot, "state", snapshot.at)
        return self._numbers.state(pipeline, state, seconds(state.ts) if at is None else at), at

    def _captured(self, pipeline: str, boot: str, kind: str, at: float | None) -> float | None:
        """Return the time of a capture as it may be; that of an engine of another start of the kernel is not known."""
        if not of_this_kernel(boot):
            return at
        now = self._clock.uptime()
        return self._numbers.captured(pipeline, kind, now if at is None else at, now)


def _earlier(noted: bytes) -> AdmissionState | None:
    """Return the state of the publisher before; None for the first one."""
    try:
        return decode_json(AdmissionState, noted) if noted else None
    except WireError as error:
        log.warning("rates of the previous publisher cannot be read: %s", error)
        return AdmissionState()


def _without_marks(message: Result | Event) -> Result | Event:
    """Return an engine's message without what the publisher alone says."""
    if message.replay is not ABSENT:
        message = replace(message, replay=ABSENT)
    if isinstance(message, Event) and message.skipped is not ABSENT:
        message = replace(message, skipped=ABSENT)
    return message
