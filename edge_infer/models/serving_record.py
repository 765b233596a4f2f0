"""The record of the models in service and the applied plan, in files that a power cut cannot corrupt."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from edge_infer.contract.codec import (
    ABSENT,
    Absent,
    JsonValue,
    Record,
    ShortText,
    StoredRecord,
    at_most,
    decode,
    decode_json,
    dumps,
    field,
    loads,
    replace,
)
from edge_infer.contract.messages import Count, Digest, Label, Name, Sentence, Timestamp, Title, timestamp
from edge_infer.errors import WireError
from edge_infer.ipc.channel import MAX_PLAN_BYTES
from edge_infer.plan.records import ModelPlan, Overrides, PipelinePlan, Plan
from edge_infer.platform.durable_files import keep_record
from edge_infer.platform.paths import content

# The record of the models in service, stored in the state directory so that a kill or a power cut cannot corrupt it.
#
# For every pipeline it holds the current and the previous model. It also holds the models on probation, the digests
# that are not tried again, and the history of models on this board.
#
# A newer version may have written it, before a rollback of the program. Unknown keys of a refusal, a trial or the
# record itself are ignored: what remains refuses at least as much. A slot is read strictly, because an unknown key of
# its model may change the model's results or forbid it. Such a slot is lost; the refusals stay.
#
# Entries are read one by one. A refusal with an unknown value still refuses, while it names its model.

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE: Final = "serving.json"
UNREADABLE: Final = f"{FILE}.unreadable"
"""Name of the last record that this version could not read, or only in part. Only people use it."""
MOST_HISTORY: Final = 200
MOST_REFUSED: Final = 20
"""Maximum number of refused digests stored for a model. The oldest are dropped and may then be tried again."""
LONGEST: Final = 16 << 20

UNTRUSTED: Final = "no signature of a key in security.keys was checked for it, and security.require_signature is true"

What = Literal[
    "first", "tried", "committed", "rejected", "rolled_back", "superseded", "retry", "shadow_off", "held_back"
]
Refused = Literal["rejected", "rolled_back"]


class Fit(Record, frozen=True):
    """A model that ran in a pipeline, without the settings that the pipeline overrode.

    Earlier versions stored the model with these settings, and also the pipeline's ``threshold`` and ``labels``. These
    fields are only read.
    """

    model: ModelPlan
    threshold: float | None = None
    labels: tuple[Label, ...] | None = None

    @classmethod
    def of(cls, pipeline: PipelinePlan) -> Fit:
        """Return the model of this pipeline, with the settings of the model itself."""
        return cls(pipeline.own.onto(pipeline.model))

    def onto(self, pipeline: PipelinePlan) -> PipelinePlan:
        """Return the pipeline with this model in place of its own, and with the pipeline's current settings.

        Of the labels that the pipeline, its zones and its lines select, only those stay that this model knows. A
        threshold for scores does not apply to distances, and a threshold for distances does not apply to scores.
        """
        said, tasks = pipeline.said, {self.model.task, pipeline.model.task}
        if len(tasks) > 1 and "anomaly" in tasks:
            said = replace(said, threshold=None)
        model = said.onto(self.model)
        places = {
            "labels": _known(pipeline.labels, model),
            "zones": tuple(replace(zone, labels=_known(zone.labels, model)) for zone in pipeline.zones),
            "lines": tuple(replace(line, labels=_known(line.labels, model)) for line in pipeline.lines),
        }
        own = Overrides.of(self.model)
        return replace(pipeline, model=model, threshold=model.threshold, own=own, **places)

    def unusable(self, pipeline: PipelinePlan, signers: Collection[str] | None) -> str:
        """Return the reason why this model must not replace the pipeline's own model; empty if it may replace it."""
        title = self.model.title
        if not trusted(self.model, signers):
            return f"{title} served before, but {UNTRUSTED}"
        if pipeline.labels and not set(pipeline.labels) & set(self.model.labels):
            return f"{title} served before, but it has none of the labels that pipeline {pipeline.name} keeps"
        return ""


def trusted(model: ModelPlan, signers: Collection[str] | None) -> bool:
    """Return whether one of the signers signed an earlier model, or no signature is required (None)."""
    return signers is None or model.signed in signers


def _known(labels: tuple[Label, ...] | None, model: ModelPlan) -> tuple[Label, ...] | None:
    """Return the labels that a model knows; None (all labels) stays None."""
    return None if labels is None else tuple(label for label in labels if label in model.labels)


class Slot(Record, frozen=True):
    """The committed model of a pipeline and the previous one; ``ts`` is the time of the commit."""

    committed: Fit
    previous: Fit | None
    ts: Timestamp


class OnTrial(StoredRecord, frozen=True):
    """A model on probation; ``starts`` counts unclean restarts of the daemon during the probation.

    ``identity`` is the identity of its plan. Older records have none; the digest of the file then identifies the model.
    """

    sha: Digest
    title: Title
    ts: Timestamp
    starts: Count = 0
    identity: Annotated[str, at_most(64)] = ""

    @property
    def which(self) -> str:
        """Return the identity that the engine uses for the model."""
        return self.identity or self.sha


class Refusal(StoredRecord, frozen=True):
    """A refused model that is not tried again until its settings in the configuration (``entry``) change.

    A model that never became a plan has no ``identity``; the digest of its file and its title (name and version)
    identify it. ``keys`` are the `ServingRecord`'s at the time of the refusal, and keys found since. A fallback that
    another key signed does not replace the refused model.
    """

    sha: Digest
    title: Title
    entry: Annotated[str, at_most(64)]
    state: Refused
    reason: Sentence
    ts: Timestamp
    identity: Annotated[str, at_most(64)] = ""
    keys: tuple[ShortText, ...] | Absent = ABSENT

    def about(self, model: ModelPlan) -> bool:
        """Return whether the refusal is about this model, regardless of its current settings in the configuration."""
        if self.identity:
            return self.identity == model.identity
        return (self.sha, self.title) == (model.sha256, model.title)

    def with_keys(self, keys: tuple[str, ...] | Absent) -> Refusal:
        """Return the refusal after a reading of the configuration that found these keys."""
        if self.keys is ABSENT or keys is ABSENT:
            return self
        return replace(self, keys=tuple(dict.fromkeys((*self.keys, *keys))))


class ShadowEnded(StoredRecord, frozen=True):
    """A model that failed as a shadow. Until its configuration changes, the model does not run as a shadow again."""

    model: Name
    sha: Digest
    title: Title
    entry: Annotated[str, at_most(64)]
    reason: Sentence
    ts: Timestamp


class Happened(StoredRecord, frozen=True):
    """One entry of the history: the event, the model's digest, the actor (user, configuration, daemon), the reason."""

    ts: Timestamp
    model: Name
    what: What
    sha: Digest
    title: Title
    by: Annotated[str, at_most(128)]
    why: Sentence = ""


class ServingRecord(StoredRecord, frozen=True):
    """The whole record.

    Slots and ended ``shadows`` are stored by pipeline, trials and refusals by the name of the model. ``keys`` are the
    keys that the last reading of the configuration found, even if the configuration was rejected; absent if no
    signature was required.
    """

    slots: Mapping[Name, Slot] = field(default_factory=dict)
    trials: Mapping[Name, OnTrial] = field(default_factory=dict)
    refused: Mapping[Name, tuple[Refusal, ...]] = field(default_factory=dict)
    history: Annotated[tuple[Happened, ...], at_most(MOST_HISTORY)] = ()
    shadows: Mapping[Name, ShadowEnded] = field(default_factory=dict)
    keys: tuple[ShortText, ...] | Absent = ABSENT

    def refusal(self, model: ModelPlan) -> Refusal | None:
        """Return the refusal that forbids a trial of this model, or None."""
        found = (each for each in self.refused.get(model.name, ()) if each.about(model))
        return next((each for each in found if each.entry == model.entry), None)

    def shadow_ended(self, pipeline: PipelinePlan) -> ShadowEnded | None:
        """Return the record that forbids the pipeline's shadow to run, or None."""
        ended, shadow = self.shadows.get(pipeline.name), pipeline.shadow
        if ended is None or shadow is None:
            return None
        model = shadow.model
        same = (ended.model, ended.sha, ended.entry) == (model.name, model.sha256, model.entry)
        return ended if same else None

    def fallback(self, pipeline: PipelinePlan, signers: Collection[str] | None) -> tuple[Fit | None, str]:
        """Return the fallback of a refused model, and the reason why the fallback must not serve (empty: it may).

        ``signers`` are as in `Plan`. Without a refusal or a fallback, return None and an empty text.
        """
        refusal = self.refusal(pipeline.model)
        fit = self.predecessor(pipeline) if refusal is not None else None
        if refusal is None or fit is None:
            return None, ""
        return fit, fit.unusable(pipeline, remaining(signers, refusal.keys))

    def predecessor(self, pipeline: PipelinePlan) -> Fit | None:
        """Return the pipeline's committed model, or one that other pipelines have under that model name."""
        own = self.slots.get(pipeline.name)
        others = [slot for slot in self.slots.values() if slot.committed.model.name == pipeline.model.name]
        for slot in [own, *others] if own else others:
            fit, wanted = slot.committed, pipeline.model
            if fit.model.identity != wanted.identity and fit.model.input.takes == wanted.input.takes:
                return fit
        return None

    def models(self) -> tuple[ModelPlan, ...]:
        """Return all models to which pipelines can roll back, in addition to the models of the configuration."""
        return tuple(fit.model for slot in self.slots.values() for fit in (slot.committed, slot.previous) if fit)

    def told(self, *news: Happened) -> ServingRecord:
        """Return a copy with additional history; the oldest entries are dropped."""
        return replace(self, history=(*self.history, *news)[-MOST_HISTORY:])

    def refusing(self, name: str, refusal: Refusal) -> ServingRecord:
        """Return a copy with one more refused model, which is no longer on probation."""
        refusal = replace(refusal, keys=self.keys)
        which = (refusal.sha, refusal.title, refusal.identity)
        others = [each for each in self.refused.get(name, ()) if (each.sha, each.title, each.identity) != which]
        refused = {**self.refused, name: (*others, refusal)[-MOST_REFUSED:]}
        ended = refusal.identity or refusal.sha
        trials = {key: each for key, each in self.trials.items() if (key, each.which) != (name, ended)}
        return replace(self, refused=refused, trials=trials)

    def with_keys(self, keys: tuple[str, ...] | Absent) -> ServingRecord:
        """Return the record after a reading of the configuration that found these keys.

        A key that was removed and has been added again counts for earlier refusals again.
        """
        refused = {name: tuple(each.with_keys(keys) for each in found) for name, found in self.refused.items()}
        return replace(self, keys=keys, refused=refused)

    def forgiving(self, model: ModelPlan) -> ServingRecord:
        """Return a copy without refusals of a model that has proved to work."""
        kept = tuple(each for each in self.refused.get(model.name, ()) if not each.about(model))
        refused = {key: each for key, each in self.refused.items() if key != model.name}
        return replace(self, refused={**refused, model.name: kept} if kept else refused)


def remaining(signers: Collection[str] | None, keys: Collection[str] | Absent) -> Collection[str] | None:
    """Return the signers of the applied plan that are still among the keys. None: no signature is required."""
    return signers if signers is None or keys is ABSENT else [each for each in signers if each in keys]


def read_record(state_dir: Path) -> ServingRecord:
    """Return the record; empty if the file is missing. Logs an invalid file and returns its valid parts, if any."""
    return _read_record(state_dir)[0]


def open_record(state_dir: Path) -> ServingRecord:
    """Return the record like `read_record`. A file that cannot be used as a whole also gets the name `UNREADABLE`."""
    record, whole = _read_record(state_dir)
    if not whole:
        try:
            (state_dir / UNREADABLE).unlink(missing_ok=True)
            (state_dir / UNREADABLE).hardlink_to(state_dir / FILE)  # the file keeps its name until it is replaced
        except OSError as error:
            log.warning("cannot preserve the invalid file %s as %s: %s", state_dir / FILE, UNREADABLE, error)
    return record


def _read_record(state_dir: Path) -> tuple[ServingRecord, bool]:
    """Return the record, and whether the whole file was valid or missing."""
    path = state_dir / FILE
    try:
        data = content(path, LONGEST)
        try:
            return decode_json(ServingRecord, data), True
        except WireError as error:
            record = _valid_parts(loads(data))
            log.error("can use only a part of %s: %s", path, error)  # noqa: TRY400 - one sentence
            return record, False
    except FileNotFoundError:
        return ServingRecord(), True
    except (OSError, WireError) as error:
        log.error("cannot use %s, so the daemon does not know which models ran before: %s", path, error)  # noqa: TRY400
        return ServingRecord(), False


_UNKNOWN: Final[dict[str, JsonValue]] = {
    "state": "rejected", "reason": "the reason is unknown to this version", "keys": [],
}  # fmt: skip
_STRICTEST: Final[tuple[dict[str, JsonValue], ...]] = (
    {}, {"state": "rejected"}, _UNKNOWN, {**_UNKNOWN, "ts": timestamp(0.0)},
)  # fmt: skip
"""Replacements for values of a refusal, tried in this order until it can be read. Without ``keys``, no earlier
signature counts."""


def _valid_parts(stored: JsonValue) -> ServingRecord:
    """Return the record without its invalid entries; raise `WireError` if anything else is invalid.

    A slot with an invalid previous model keeps its committed model. A refusal stays if it still identifies its model.
    """
    parts = dict(stored) if isinstance(stored, dict) else {}
    slots, trials, refused, shadows, history = (
        parts.pop(key, None) for key in ("slots", "trials", "refused", "shadows", "history")
    )
    lines = [_valid(Happened, line) for line in history[-MOST_HISTORY:]] if isinstance(history, list) else []
    return replace(
        decode(ServingRecord, parts if isinstance(stored, dict) else stored),
        slots=_valid_entries(slots, _valid_slot),
        trials=_valid_entries(trials, _valid_trial),
        refused=_valid_entries(refused, _valid_refusals),
        shadows=_valid_entries(shadows, _valid_shadow),
        history=tuple(line for line in lines if line is not None),
    )


def _valid_entries(stored: JsonValue, valid: Callable[[str, JsonValue], T | None]) -> dict[str, T]:
    found = {name: valid(name, each) for name, each in stored.items()} if isinstance(stored, dict) else {}
    return {name: each for name, each in found.items() if each is not None and _valid(Name, name) is not None}


def _valid_trial(model: str, stored: JsonValue) -> OnTrial | None:
    trial = _valid(OnTrial, stored)
    if trial is None:
        log.error("model %s: this version of edge-infer cannot read its probation, so probation begins again", model)
    return trial


def _valid_shadow(pipeline: str, stored: JsonValue) -> ShadowEnded | None:
    ended = _valid(ShadowEnded, stored)
    if ended is None:
        log.error(
            "pipeline %s: this version of edge-infer cannot read why its shadow failed, so the shadow may run again",
            pipeline,
        )
    return ended


def _valid_refusals(model: str, stored: JsonValue) -> tuple[Refusal, ...] | None:
    found = [_valid_refusal(model, each) for each in (stored if isinstance(stored, list) else [stored])]
    return tuple(each for each in found if each is not None) or None


def _valid_refusal(model: str, stored: JsonValue) -> Refusal | None:
    """Return a refusal. Values that cannot be read get the strictest known meaning, unless they identify the model."""
    if isinstance(stored, dict):
        for strictest in _STRICTEST:
            if (refusal := _valid(Refusal, {**stored, **strictest})) is not None:
                if strictest:
                    log.error(
                        "%s stays refused, but this version of edge-infer cannot read all values of the stored refusal",
                        refusal.title,
                    )
                return refusal
    log.error(
        "model %s: this version of edge-infer cannot read a stored refusal of a model file; the daemon may "
        "try this file again",
        model,
    )
    return None


def _valid_slot(pipeline: str, stored: JsonValue) -> Slot | None:
    slot = _valid(Slot, stored)
    if slot is None and isinstance(stored, dict):
        slot = _valid(Slot, {**stored, "previous": None})
        lost = "served last" if slot is None else "it can return to"
        log.error("pipeline %s: this version of edge-infer cannot read which model %s", pipeline, lost)
    return slot


def _valid(kind: type[T], stored: JsonValue) -> T | None:
    try:
        return decode(kind, stored)
    except WireError:
        return None


def write_record(state_dir: Path, record: ServingRecord) -> None:
    """Write the record; raises `StartError` if the state directory is not writable.

    If the record would be too long to be read again, the longest fallbacks are not written.
    """
    excess = len(dumps(record)) - LONGEST
    keep_record(state_dir / FILE, record if excess <= 0 else _shortened(record, excess))


def _shortened(record: ServingRecord, excess: int) -> ServingRecord:
    """Return the record shortened by ``excess`` bytes, without the longest previous models, then the longest slots."""
    slots, left_out = dict(record.slots), []
    for name, slot in sorted(slots.items(), key=lambda each: -_length(each[1].previous)):
        if excess > 0 and slot.previous is not None:
            slots[name] = replace(slot, previous=None)
            excess -= _length(slot.previous) - len("null")
            left_out.append(f"the previous model of {name}")
    for name in sorted(slots, key=lambda name: -_length(slots[name])):
        if excess > 0:
            excess -= _length(slots.pop(name))
            left_out.append(f"the model of {name}")
    log.error("%s has become too large, so the daemon stores it without %s", FILE, ", ".join(left_out))
    return replace(record, slots=slots)


def _length(value: Fit | Slot | None) -> int:
    return len(dumps(value))


# The plan that was applied last, in the state directory. It is read strictly: an unknown key, which a newer version
# wrote, may be a restriction, such as a mask.

APPLIED: Final = "applied.json"


UNPROVEN: Final = "unproven"
"""Name of a file that exists until the processes have worked with the plan that was applied last."""


def mark_unproven(state_dir: Path) -> None:
    """Note that a plan is about to be applied: if the daemon dies before `mark_proven`, the plan may be the cause."""
    with suppress(OSError):  # a full disk must not stop the plan from being applied
        (state_dir / UNPROVEN).touch(mode=0o640)


def mark_proven(state_dir: Path) -> None:
    """Note that the processes have worked with the plan that was applied last, or that the daemon stops in order."""
    with suppress(OSError):
        (state_dir / UNPROVEN).unlink(missing_ok=True)


def is_unproven(state_dir: Path) -> bool:
    """Return whether the daemon died before the processes had worked with the plan that was applied last."""
    return os.path.lexists(state_dir / UNPROVEN)


def remember(plan: Plan) -> None:
    """Store the plan as the one that was applied last; raises `StartError` if the state directory is not writable."""
    keep_record(Path(plan.state_dir) / APPLIED, plan)


def remembered(state_dir: Path) -> Plan | None:
    """Return the plan that was applied last; None without a plan that this version can read."""
    path = state_dir / APPLIED
    try:
        return decode_json(Plan, content(path, MAX_PLAN_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.warning("cannot use the last applied configuration in %s: %s", path, error)
        return None
