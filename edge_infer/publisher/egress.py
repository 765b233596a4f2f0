"""Egress guard: the only exit for messages.

It checks a message when it is queued, and checks its bytes again when they are sent.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable

from edge_infer.contract.codec import ABSENT, decode, decode_json, dumps, encode, replace
from edge_infer.contract.messages import ConfigStatus, Event, Health, Info, Result, State
from edge_infer.contract.topics import OFFLINE, ONLINE, Place
from edge_infer.errors import WireError
from edge_infer.ipc.messages import RUNTIME
from edge_infer.plan.records import Plan
from edge_infer.platform.clock import of_this_kernel
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.allowed_texts import AllowedWords, closed
from edge_infer.publisher.canonical import OutcomeForm
from edge_infer.publisher.known_words import KnownWords
from edge_infer.publisher.plan_rules import PlanHistory
from edge_infer.publisher.timestamps import Clock, Dated, keep, kept, seconds
from edge_infer.sandbox.selftest import TRIED

log = logging.getLogger(__name__)


class Egress:
    """Rejects messages that do not fit the closed schema, the labels of their model, or the size limit.

    A new message of an engine may have only the words and forms of the plan that the engine uses (`PlanHistory`). A
    queued message, and a message that the publisher itself makes about an earlier message, may have the words of all
    earlier plans. `learn` loads the words of earlier processes from a file that an earlier publisher wrote.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.rejected = 0
        self._clock = clock or Clock()
        self._plans = PlanHistory()
        self._kept = KnownWords()
        self._models: set[str] = set()
        self._rarely = LogThrottle()

    def apply(self, plan: Plan, at: float | None = None) -> None:
        """Add the words of a plan, before any message that uses them.

        ``at`` is the uptime at which the plan came (now).
        """
        self._plans.apply(plan, self._clock.uptime() if at is None else at)
        self._kept.apply(plan)
        self._models.update(plan.spoken_of())

    def engine_rested(self) -> None:
        """Forget earlier plans: an engine that starts with full budgets has only the current one."""
        self._plans.forget()

    def learn(self, words: AllowedWords) -> None:
        """Load the vocabulary of plans of earlier processes, before the first `apply`."""
        self._kept.learn(words)

    def words(self) -> AllowedWords:
        """Return the current vocabulary, the oldest entries first."""
        return self._kept.words()

    def knows(self, record: object) -> bool:
        """Return whether the plan contains the labels of the model that made the record."""
        return not isinstance(record, (Result, State)) or record.sha in self._plans.at(math.inf).words.labels

    def recall(self, begun: Iterable[tuple[str, Event]]) -> None:
        """Allow end events of events that an earlier process admitted, whatever the current configuration contains."""
        self._kept.recall(begun)

    def admit(
        self, place: Place, record: object, at: float | None = None, *, own: bool = False, made: float | None = None
    ) -> bytes | None:
        """Check a new message, and return the bytes to keep in the outbox; None if it is rejected.

        A rejection is counted and logged. A record of the right type was decoded from a channel and so fits the schema;
        any other object still has to be decoded. Results, events and states get their canonical form.

        - ``at``: the uptime of the capture, from which the time of day is derived.
        - ``own``: this process made the message, about an earlier message.
        - ``made``: the uptime that selects the plan for an engine's message; now by default.
        """
        moment = self._clock.uptime() if made is None else made
        rules = self._plans.at(moment if isinstance(record, (Result, State, Event)) and not own else -math.inf)
        words = self._kept if own else rules.words
        try:
            assert place.rule.record is not None
            checked = record if isinstance(record, place.rule.record) else decode(place.rule.record, encode(record))
            if at is not None and isinstance(checked, Dated):
                checked = self._clock.dated(checked, at)
            if isinstance(checked, Info):
                checked = replace(checked, sandbox=closed(checked.sandbox))
            self._check(place, checked, words)
            if form := rules.forms.get(place.name):
                checked = _canonical(form, checked)
            if isinstance(checked, ConfigStatus):
                checked = _told_within(checked, _limit(place, words))
            elif isinstance(checked, (Health, Info)):
                checked = _cut(checked, _limit(place, words))
            payload = _sized(place, dumps(checked), words)
            return payload if at is None or self._clock.known else keep(payload, at)
        except WireError as error:
            self.reject(place, error)
            return None

    def release(self, place: Place, waiting: bytes, *, late: bool = False) -> bytes | None:
        """Check a queued message. Return the bytes to send now; None if it is rejected.

        A rejection is counted and logged. The bytes are encoded again from the decoded record, so that spaces and
        repeated keys cannot carry data. A record that was captured before the time was known gets its timestamp now.
        With ``late`` the message is marked ``replay``. If there is no room for the mark, the outcome with the lowest
        score is dropped.
        """
        try:
            if place.rule.record is None:
                return self._status(waiting)
            at, payload = kept(waiting)
            if not payload and place.rule.retained:
                return payload  # an empty payload clears a retained topic
            record = decode_json(place.rule.record, payload)
            if at is not None and isinstance(record, Dated) and (place.rule.retained or of_this_kernel(record.boot)):
                record = self._clock.dated(record, at)
            self._check(place, record, self._kept)
            if late and isinstance(record, (Result, Event)):
                return _sized(place, _replayed(record, _limit(place, self._kept)), self._kept)
            return _sized(place, dumps(record), self._kept)
        except WireError as error:
            self.reject(place, error)
            return None

    def _status(self, payload: bytes) -> bytes:
        if payload not in (ONLINE, OFFLINE):
            raise WireError(f"expected the status 'online' or 'offline', not {payload[:32]!r}")
        return payload

    def _check(self, place: Place, record: object, words: KnownWords) -> None:
        """Check what the schema does not cover: pipelines, models and their labels."""
        if place.kind == "model" and place.name not in self._models:
            raise WireError(f"the configuration has no model {place.name!r}")
        if isinstance(record, Dated):
            seconds(record.ts)
        if isinstance(record, (Event, State)) and record.since is not ABSENT:
            seconds(record.since)
            if record.since > record.ts:  # both have the same form, so the order of the texts is the order of the times
                raise WireError(f"since {record.since} is later than the time {record.ts} of the message")
        if isinstance(record, Info):
            _check_info(record)
        words.check(place, record)

    def reject(self, place: Place, error: WireError) -> None:
        """Count and log a rejected message."""
        self.rejected += 1
        if self._rarely.due(place):
            log.warning("message for %s rejected: %s (logged once a minute)", place.topic("…"), error)


def _limit(place: Place, words: KnownWords) -> int:
    return words.limits[place.name] if place.kind == "result" else place.rule.limit


def _sized(place: Place, payload: bytes, words: KnownWords) -> bytes:
    if len(payload) > _limit(place, words):
        raise WireError(f"{len(payload)} bytes exceed the limit of {_limit(place, words)}")
    return payload


def _replayed(record: Result | Event, limit: int) -> bytes:
    record = replace(record, replay=True)
    payload = dumps(record)
    while len(payload) > limit and isinstance(record, Result) and (shorter := record.shorter()):
        record = shorter
        payload = dumps(record)
    return payload


def _canonical(form: OutcomeForm, record: object) -> object:
    """Return the canonical form of a result, event or state; return any other record unchanged."""
    if isinstance(record, Result):
        return form.result(record)
    if isinstance(record, Event):
        return form.event(record)
    return form.state(record) if isinstance(record, State) else record


def _check_info(info: Info) -> None:
    """Check that all texts of the engine in it have closed forms."""
    if not re.fullmatch(RUNTIME, info.versions.get("runtime", "")):
        raise WireError("expected a name and a version as the runtime")
    if closed(info.sandbox) != info.sandbox:
        raise WireError("the report of a sandbox rule has no known form")
    if info.tried is not ABSENT and not info.tried.items() <= TRIED.items():
        raise WireError("the test of a sandbox rule is unknown")


def _told_within(status: ConfigStatus, limit: int) -> ConfigStatus:
    """Return the status with as many errors as fit, so that a rejection is published however many reasons it has."""
    told, errors = status, status.errors
    while errors and len(dumps(told)) > limit:
        errors = errors[:-1]
        more = f"and {len(status.errors) - len(errors)} more; edge-infer check prints them all"
        told = replace(status, errors=(*errors, more))
    return told


def _cut(told: Health | Info, limit: int) -> Health | Info:
    """Return the record with as many pipelines and sources as fit, by name. ``more`` is the number of the others."""
    cut, left_out = told, 0
    pipelines, sources = sorted(told.pipelines), sorted(told.sources) if isinstance(told, Health) else []
    while (pipelines or sources) and len(dumps(cut)) > limit:
        left_out += len(pipelines) + len(sources)
        pipelines, sources = (names[: len(names) * 7 // 8] for names in (pipelines, sources))
        left_out -= len(pipelines) + len(sources)
        if isinstance(told, Health):
            facts = {name: told.sources[name] for name in sources}
            health = {name: told.pipelines[name] for name in pipelines}
            governor = told.governor
            if governor is not ABSENT:
                limits = {name: governor.limits[name] for name in pipelines if name in governor.limits}
                governor = replace(governor, limits=limits)
            cut = replace(told, pipelines=health, sources=facts, governor=governor, more=left_out)
        else:
            cut = replace(told, pipelines={name: told.pipelines[name] for name in pipelines}, more=left_out)
    return cut
