"""Egress guard: the only exit for messages.

It checks a message when it is queued, and checks its bytes again when they are sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent, decode, decode_json, dumps, encode, replace
from edge_infer.contract.messages import (
    MAX_MESSAGE_BYTES,
    ConfigStatus,
    Event,
    Health,
    Info,
    ModelStatus,
    Result,
    State,
    Value,
)
from edge_infer.contract.topics import OFFLINE, ONLINE, Place
from edge_infer.errors import WireError
from edge_infer.ipc.messages import RUNTIME
from edge_infer.plan.records import Plan
from edge_infer.platform.clock import of_this_kernel
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.allowed_texts import AllowedWords, ModelWords, PipelineWords, closed
from edge_infer.publisher.canonical import OutcomeForm
from edge_infer.publisher.timestamps import Clock, Dated, keep, kept, seconds
from edge_infer.sandbox.selftest import TRIED

log = logging.getLogger(__name__)

MOST_DIGESTS: Final = 256
"""Number of model files whose labels stay known: messages queued before a model change may be sent after it."""


class Egress:
    """Rejects messages that do not fit the closed schema, the labels of their model, or the size limit.

    Labels are stored by the digest of the model file. Labels, places and size limits of earlier plans stay known,
    because messages of these plans may still be queued. `words` and `learn` pass them on to the next process.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.rejected = 0
        self._clock = clock or Clock()
        self._labels: dict[str, frozenset[str]] = {}
        self._titles: dict[str, frozenset[str]] = {}
        self._decimals: dict[str, dict[str, int]] = {}
        self._limits: dict[str, int] = {}
        self._models: set[str] = set()
        self._places: dict[str, set[str]] = {}
        self._told: dict[str, set[str]] = {}
        self._above: dict[str, set[str]] = {}
        self._forms: dict[str, OutcomeForm] = {}
        self._served: dict[str, frozenset[str]] = {}
        self._rarely = LogThrottle()

    def apply(self, plan: Plan) -> None:
        """Add the labels of the plan's models; call it before any message that uses them."""
        for pipeline in plan.pipelines:
            model = pipeline.model
            sha = model.sha256[:8]
            declared = {word for value in model.values for word in (value.name, value.unit)}
            self._labels[sha] = self._labels.pop(sha, frozenset()) | set(model.labels) | declared
            steps = {value.name: value.decimals() for value in model.values}
            known = self._decimals.pop(sha, {})  # of another model with the same file and other steps
            self._decimals[sha] = known | {name: max(most, known.get(name, 0)) for name, most in steps.items()}
            self._titles[sha] = self._titles.pop(sha, frozenset()) | {model.title}
            self._limits[pipeline.name] = max(self._limits.pop(pipeline.name, 0), pipeline.max_payload)
            names = (*(zone.name for zone in pipeline.zones), *(line.name for line in pipeline.lines))
            self._places.setdefault(pipeline.name, set()).update(names)
            self._told.setdefault(pipeline.name, set()).update(pipeline.labels or model.labels, declared)
            served = self._served.pop(pipeline.name, frozenset())  # of the same pipeline in the previous plan
            form = OutcomeForm.of(pipeline)
            self._served[pipeline.name] = form.models
            form = replace(form, models=form.models | served)
            self._forms[pipeline.name] = form.joined(self._forms.get(pipeline.name))
            above = {label for each in plan.parents(pipeline) for label in each.model.labels}
            self._above.setdefault(pipeline.name, set()).update(above)
        self._models.update(plan.spoken_of())
        for sha in list(self._labels)[:-MOST_DIGESTS]:
            del self._labels[sha], self._titles[sha], self._decimals[sha]

    def learn(self, words: AllowedWords) -> None:
        """Load the vocabulary of plans of earlier processes, before the first `apply`."""
        for model in words.models:
            self._labels[model.sha], self._titles[model.sha] = frozenset(model.labels), frozenset(model.titles)
            self._decimals[model.sha] = dict(model.decimals)
        for pipeline in words.pipelines:
            self._limits[pipeline.name], self._places[pipeline.name] = pipeline.limit, set(pipeline.places)
            self._told[pipeline.name], self._above[pipeline.name] = set(pipeline.labels), set(pipeline.above)
            self._served[pipeline.name] = frozenset(pipeline.models)

    def words(self) -> AllowedWords:
        """Return the current vocabulary, oldest entries first."""
        models = (
            ModelWords(sha, tuple(sorted(labels)), tuple(sorted(self._titles[sha])), self._decimals[sha])
            for sha, labels in self._labels.items()
        )
        pipelines = (
            PipelineWords(
                name,
                limit,
                *(tuple(sorted(of.get(name, ()))) for of in (self._places, self._told, self._above, self._served)),
            )
            for name, limit in self._limits.items()
        )
        return AllowedWords(tuple(models), tuple(pipelines))

    def knows(self, record: object) -> bool:
        """Return whether a plan has named the labels of the model that produced the record."""
        return not isinstance(record, (Result, State)) or record.sha in self._labels

    def recall(self, begun: Iterable[tuple[str, Event]]) -> None:
        """Allow the ends of events whose begin an earlier process admitted, whatever the configuration contains now."""
        for pipeline, event in begun:
            self._limits.setdefault(pipeline, MAX_MESSAGE_BYTES)
            self._places.setdefault(pipeline, set()).update(event.places())
            self._told.setdefault(pipeline, set()).update([] if event.label is ABSENT else [event.label])

    def admit(self, place: Place, record: object, at: float | None = None) -> bytes | None:
        """Check a message that is about to be queued. Return the bytes to store in the outbox; None if it is rejected.

        A rejection is counted and logged. A record was decoded from a channel with its type, so it fits the schema;
        JSON still has to be decoded. ``at`` is the uptime of the capture, from which the time of day is derived.
        Results, events and states get their canonical form.
        """
        try:
            assert place.rule.record is not None
            checked = record if isinstance(record, place.rule.record) else decode(place.rule.record, encode(record))
            if at is not None and isinstance(checked, Dated):
                checked = self._clock.dated(checked, at)
            if isinstance(checked, Info):
                checked = replace(checked, sandbox=closed(checked.sandbox))
            self._check(place, checked)
            if form := self._forms.get(place.name):
                checked = _canonical(form, checked)
            if isinstance(checked, ConfigStatus):
                checked = _told_within(checked, self._limit(place))
            elif isinstance(checked, (Health, Info)):
                checked = _cut(checked, self._limit(place))
            payload = self._sized(place, dumps(checked))
            return payload if at is None or self._clock.known else keep(payload, at)
        except WireError as error:
            self.reject(place, error)
            return None

    def release(self, place: Place, waiting: bytes, *, late: bool = False) -> bytes | None:
        """Check a queued message. Return the bytes to send now; None if it is rejected.

        A rejection is counted and logged. The bytes are encoded again from the decoded record, so that spaces and
        repeated keys cannot carry data. A record that was captured before the time was known gets the time as it is
        known now. With ``late`` the message is marked ``replay``. If there is no room for the mark, the outcome with
        the lowest score is dropped.
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
            self._check(place, record)
            if late and isinstance(record, (Result, Event)):
                return self._sized(place, self._replayed(record, self._limit(place)))
            return self._sized(place, dumps(record))
        except WireError as error:
            self.reject(place, error)
            return None

    def _status(self, payload: bytes) -> bytes:
        if payload not in (ONLINE, OFFLINE):
            raise WireError(f"the status is 'online' or 'offline', not {payload[:32]!r}")
        return payload

    def _check(self, place: Place, record: object) -> None:
        """Check what the schema does not cover: pipelines, models, and their labels."""
        if place.kind in ("result", "event", "state") and place.name not in self._limits:
            raise WireError(f"{place.name!r} is no pipeline of the configuration")
        if place.kind == "model" and place.name not in self._models:
            raise WireError(f"{place.name!r} is no model of the configuration")
        if isinstance(record, Dated):
            seconds(record.ts)
        if isinstance(record, (Event, State)) and record.since is not ABSENT:
            seconds(record.since)
            if record.since > record.ts:  # both have the same form, so the order of the texts is the order of the times
                raise WireError(f"since {record.since} is later than its time {record.ts}")
        if isinstance(record, Info):
            _check_info(record)
        if isinstance(record, ModelStatus) and isinstance(record.shadow, Mapping):
            self._check_pipelines(record.shadow)
        if isinstance(record, ModelStatus) and isinstance(record.delegate, Mapping):
            self._check_pipelines(record.delegate)
        if isinstance(record, (Result, State)):
            self._check_model(record.sha, record.model)
            words = record.words()
            self._check_labels(words, self._labels[record.sha])
            self._check_labels(words, self._told[place.name])
            for values in (record.values, *(each.values for each in getattr(record, "answers", None) or ())):
                self._check_decimals(values, self._decimals.get(record.sha, {}))
            self._check_parents(place, record)
        if isinstance(record, Event) and record.label is not ABSENT:
            self._check_labels((record.label,), self._told[place.name])
        if isinstance(record, (Event, State)):
            self._check_places(record.places(), self._places[place.name])

    def _check_pipelines(self, found: Iterable[str]) -> None:
        for name in found:
            if name not in self._limits:
                raise WireError(f"{name!r} is no pipeline of the configuration")

    def _check_model(self, sha: str, title: str) -> None:
        if sha not in self._labels:
            raise WireError(f"{sha} is the digest of no model of the configuration")
        if title not in self._titles[sha]:
            raise WireError(f"{title!r} is not the title of the model {sha}")

    def _check_labels(self, found: Iterable[str], known: AbstractSet[str]) -> None:
        for label in found:
            if label not in known:
                raise WireError(f"{label!r} is not among the labels of the model")

    def _check_parents(self, place: Place, record: Result | State) -> None:
        """Check the labels and the pipeline of the parent objects in the output of a cascade."""
        above = frozenset(self._above.get(place.name, ()))
        if isinstance(record, State):
            self._check_labels((answer.label for answer in record.answers or ()), above)
        elif record.parent is not ABSENT:
            self._check_labels((record.parent.label,), above)
            if record.parent.pipeline not in self._limits:
                raise WireError(f"{record.parent.pipeline!r} is no pipeline of the configuration")

    def _check_places(self, found: Iterable[str], known: set[str]) -> None:
        for name in found:
            if name not in known:
                raise WireError(f"{name!r} is neither a zone nor a line of the pipeline")

    def _check_decimals(self, values: tuple[Value, ...] | Absent | None, known: Mapping[str, int]) -> None:
        for value in values if isinstance(values, tuple) else ():
            most = known.get(value.name, 0)
            if value.value is not None and value.value != round(value.value, most):
                raise WireError(f"{value.value} has more than the {most} decimals of {value.name!r}")

    def _limit(self, place: Place) -> int:
        return self._limits[place.name] if place.kind == "result" else place.rule.limit

    def _sized(self, place: Place, payload: bytes) -> bytes:
        if len(payload) > self._limit(place):
            raise WireError(f"{len(payload)} bytes are more than {self._limit(place)}")
        return payload

    def _replayed(self, record: Result | Event, limit: int) -> bytes:
        record = replace(record, replay=True)
        payload = dumps(record)
        while len(payload) > limit and isinstance(record, Result) and (shorter := record.shorter()):
            record = shorter
            payload = dumps(record)
        return payload

    def reject(self, place: Place, error: WireError) -> None:
        """Count and log a rejected message."""
        self.rejected += 1
        if self._rarely.due(place):
            log.warning("message for %s rejected: %s (logged once a minute)", place.topic("…"), error)


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
        raise WireError("the runtime is a name and a version")
    if closed(info.sandbox) != info.sandbox:
        raise WireError("what is said of a wall has no known form")
    if info.tried is not ABSENT and not info.tried.items() <= TRIED.items():
        raise WireError("what was tried of a wall is not known")


def _told_within(status: ConfigStatus, limit: int) -> ConfigStatus:
    """Return the status with as many errors as fit, so that a rejection is published however many reasons it has."""
    told, errors = status, status.errors
    while errors and len(dumps(told)) > limit:
        errors = errors[:-1]
        more = f"and {len(status.errors) - len(errors)} more; edge-infer check tells them all"
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
