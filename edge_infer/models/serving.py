"""The record of what serves: kept in the state directory, so that a kill or power cut at any moment leaves the truth.

It says, of every pipeline, with which model it runs and ran before; which models are on probation; which digests are
not tried again; and what happened to models here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from edge_infer.codec import Record, at_most, decode_json, dumps, field, replace
from edge_infer.config.plan import ModelPlan, PipelinePlan
from edge_infer.durable import keep_record
from edge_infer.errors import WireError
from edge_infer.messages import Count, Digest, Label, Name, Sentence, Timestamp, Title

log = logging.getLogger(__name__)

FILE: Final = "serving.json"
MOST_HISTORY: Final = 200
MOST_REFUSED: Final = 20
"""Digests of one model that are remembered as refused; the oldest may be tried again."""
LONGEST: Final = 16 << 20

What = Literal[
    "first", "tried", "committed", "rejected", "rolled_back", "superseded", "retry", "shadow_off", "held_back"
]
Refused = Literal["rejected", "rolled_back"]


class Fit(Record, frozen=True):
    """A model, and what of a pipeline's plan goes with it."""

    model: ModelPlan
    threshold: float
    labels: tuple[Label, ...] | None

    @classmethod
    def of(cls, pipeline: PipelinePlan) -> Fit:
        """What this pipeline has."""
        return cls(pipeline.model, pipeline.threshold, pipeline.labels)

    def onto(self, pipeline: PipelinePlan) -> PipelinePlan:
        """The pipeline with this model in the place of its own."""
        return replace(pipeline, model=self.model, threshold=self.threshold, labels=self.labels)


class Slot(Record, frozen=True):
    """What a pipeline is known to run well with, and what it ran with before; ``ts`` is since when."""

    committed: Fit
    previous: Fit | None
    ts: Timestamp


class OnTrial(Record, frozen=True):
    """A model on probation; ``starts`` counts starts of the daemon that did not end in order meanwhile.

    ``identity`` is that of its plan; older records have none, and go by the digest of the file.
    """

    sha: Digest
    title: Title
    ts: Timestamp
    starts: Count = 0
    identity: Annotated[str, at_most(64)] = ""

    @property
    def which(self) -> str:
        """What the engine calls it."""
        return self.identity or self.sha


class Refusal(Record, frozen=True):
    """A model that is not tried again until what the configuration says of it (``entry``) changes.

    One that never became a plan has no ``identity``, and goes by the digest of its file, its name and its version.
    """

    sha: Digest
    title: Title
    entry: Annotated[str, at_most(64)]
    state: Refused
    reason: Sentence
    ts: Timestamp
    identity: Annotated[str, at_most(64)] = ""

    def about(self, model: ModelPlan) -> bool:
        """Whether it is this model, whatever the configuration says of it now."""
        if self.identity:
            return self.identity == model.identity
        return (self.sha, self.title) == (model.sha256, model.title)


class ShadowEnded(Record, frozen=True):
    """A model that failed while it was only compared: not run so again until what the configuration says changes."""

    model: Name
    sha: Digest
    title: Title
    entry: Annotated[str, at_most(64)]
    reason: Sentence
    ts: Timestamp


class Happened(Record, frozen=True):
    """One line of the history: what became of which bytes, by whom (a user, the configuration, the daemon), and why."""

    ts: Timestamp
    model: Name
    what: What
    sha: Digest
    title: Title
    by: Annotated[str, at_most(128)]
    why: Sentence = ""


class ServingRecord(Record, frozen=True):
    """All of it. Pipelines have slots, and ``shadows`` that ended; trials and refusals are by the model's name."""

    slots: Mapping[Name, Slot] = field(default_factory=dict)
    trials: Mapping[Name, OnTrial] = field(default_factory=dict)
    refused: Mapping[Name, tuple[Refusal, ...]] = field(default_factory=dict)
    history: Annotated[tuple[Happened, ...], at_most(MOST_HISTORY)] = ()
    shadows: Mapping[Name, ShadowEnded] = field(default_factory=dict)

    def refusal(self, model: ModelPlan) -> Refusal | None:
        """Why this model is not to be tried, if so."""
        found = (each for each in self.refused.get(model.name, ()) if each.about(model))
        return next((each for each in found if each.entry == model.entry), None)

    def shadow_ended(self, pipeline: PipelinePlan) -> ShadowEnded | None:
        """Why the shadow of a pipeline is not to run, if so."""
        ended, shadow = self.shadows.get(pipeline.name), pipeline.shadow
        if ended is None or shadow is None:
            return None
        model = shadow.model
        same = (ended.model, ended.sha, ended.entry) == (model.name, model.sha256, model.entry)
        return ended if same else None

    def fallback(self, pipeline: PipelinePlan) -> Fit | None:
        """What a pipeline can go back to: its own model of before, or what other pipelines have under that name."""
        own = self.slots.get(pipeline.name)
        others = [slot for slot in self.slots.values() if slot.committed.model.name == pipeline.model.name]
        for slot in [own, *others] if own else others:
            fit, wanted = slot.committed, pipeline.model
            if fit.model.identity != wanted.identity and fit.model.input.takes == wanted.input.takes:
                return fit
        return None

    def models(self) -> tuple[ModelPlan, ...]:
        """Every model that pipelines can go back to, beside those of the configuration."""
        return tuple(fit.model for slot in self.slots.values() for fit in (slot.committed, slot.previous) if fit)

    def told(self, *news: Happened) -> ServingRecord:
        """The same with more history, the oldest of which is forgotten."""
        return replace(self, history=(*self.history, *news)[-MOST_HISTORY:])

    def refusing(self, name: str, refusal: Refusal) -> ServingRecord:
        """The same with a model that is not tried again, and is on trial no more."""
        which = (refusal.sha, refusal.title, refusal.identity)
        others = [each for each in self.refused.get(name, ()) if (each.sha, each.title, each.identity) != which]
        refused = {**self.refused, name: (*others, refusal)[-MOST_REFUSED:]}
        ended = refusal.identity or refusal.sha
        trials = {key: each for key, each in self.trials.items() if (key, each.which) != (name, ended)}
        return replace(self, refused=refused, trials=trials)

    def forgiving(self, model: ModelPlan) -> ServingRecord:
        """The same once a model has shown that it is good, whatever was said of it before."""
        kept = tuple(each for each in self.refused.get(model.name, ()) if not each.about(model))
        refused = {key: each for key, each in self.refused.items() if key != model.name}
        return replace(self, refused={**refused, model.name: kept} if kept else refused)


def read_record(state_dir: Path) -> ServingRecord:
    """The record, empty where there is none or none that can be understood, which is told."""
    path = state_dir / FILE
    try:
        with path.open("rb") as file:
            return decode_json(ServingRecord, file.read(LONGEST))
    except FileNotFoundError:
        return ServingRecord()
    except (OSError, WireError) as error:
        log.error("%s cannot be used, what served before is not known: %s", path, error)  # noqa: TRY400 - one sentence
        return ServingRecord()


def write_record(state_dir: Path, record: ServingRecord) -> None:
    """Keeps the record; raises `StartError` where the state directory cannot be written.

    Of one that would be too long to be read again the longest ways back are left out.
    """
    excess = len(dumps(record)) - LONGEST
    keep_record(state_dir / FILE, record if excess <= 0 else _shortened(record, excess))


def _shortened(record: ServingRecord, excess: int) -> ServingRecord:
    """The record with so many bytes less: without the longest models of before, then without the longest slots."""
    slots, left_out = dict(record.slots), []
    for name, slot in sorted(slots.items(), key=lambda each: -_length(each[1].previous)):
        if excess > 0 and slot.previous is not None:
            slots[name] = replace(slot, previous=None)
            excess -= _length(slot.previous) - len("null")
            left_out.append(f"the model before of {name}")
    for name in sorted(slots, key=lambda name: -_length(slots[name])):
        if excess > 0:
            excess -= _length(slots.pop(name))
            left_out.append(f"the model of {name}")
    log.error("%s would be too long to be read; left out: %s", FILE, ", ".join(left_out))
    return replace(record, slots=slots)


def _length(value: Fit | Slot | None) -> int:
    return len(dumps(value))
