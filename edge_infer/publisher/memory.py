"""Which retained topics a broker has from us, remembered over restarts, so that those of what is gone are cleared."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from edge_infer.codec import Record, ShortText, at_most, decode, encode, field
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import PipelinePlan, Plan
from edge_infer.messages import Name, ShortSha, Title
from edge_infer.publisher.keepsake import Keepsake
from edge_infer.publisher.topics import Place
from edge_infer.publisher.trouble import stays

log = logging.getLogger(__name__)

FILE: Final = "topics.json"
MOST_BYTES: Final = 1 << 20


StateKey = Literal["counts", "class_", "anomaly", "values"]


class Spoken(Record, frozen=True):
    """What every state of a pipeline says: its model, and which key is null while nothing is known."""

    model: Title
    sha: ShortSha
    key: StateKey

    @classmethod
    def of(cls, plan: PipelinePlan) -> Spoken:
        """As a plan has it."""
        return decode(cls, {"model": plan.model.title, "sha": plan.model.sha256[:8], "key": plan.state_key})


class Remembered(Record, frozen=True):
    """Names of pipelines with a state and of models with a status, below ``topic``, and what the states were of."""

    topic: ShortText
    places: Annotated[tuple[tuple[Literal["state", "model"], Name], ...], at_most(10_000)]
    states: Annotated[Mapping[Name, Spoken], at_most(10_000)] = field(default_factory=dict)


class TopicMemory:
    """A small file in the publisher's folder, written when the names change and never otherwise."""

    def __init__(self) -> None:
        self._known: Remembered | None = None
        self._file = Keepsake(
            Remembered, FILE, MOST_BYTES, "topics of what is removed meanwhile may stay at the broker"
        )

    def load(self, plan: Plan) -> dict[Place, Spoken | None]:
        """What was published below the same topic by processes before this one; of states what they were of."""
        if self._known is None:
            self._known = self._file.read(publisher_folder(plan.state_dir))
            if self._known and self._known.topic != plan.mqtt.topic:
                log.warning("%s", stays(self._known.topic, plan.mqtt))
        if self._known is None or self._known.topic != plan.mqtt.topic:
            return {}
        states = self._known.states
        return {Place(kind, name): states.get(name) if kind == "state" else None for kind, name in self._known.places}

    def save(self, plan: Plan, clearing: Iterable[Place], left: Mapping[str, Spoken] | None = None) -> None:
        """Remembers the names of this plan and what is not cleared yet; where it cannot write, the next time.

        ``left`` is what the states of removed pipelines were of.
        """
        clearing = tuple(clearing)
        names = [("state", pipeline.name) for pipeline in plan.pipelines]
        names += [("model", name) for name in plan.spoken_of()]
        names += [(place.kind, place.name) for place in clearing if place.kind in ("state", "model")]
        states = {name: spoken for name, spoken in (left or {}).items() if Place("state", name) in clearing}
        states |= {pipeline.name: Spoken.of(pipeline) for pipeline in plan.pipelines}
        of = {name: encode(states[name]) for name in sorted(states)}
        new = decode(Remembered, {"topic": plan.mqtt.topic, "places": encode(sorted(names)), "states": of})
        if new == self._known:
            return
        if self._file.write(publisher_folder(plan.state_dir), new):
            self._known = new
