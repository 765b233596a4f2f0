"""The retained topics that the broker has from this device, remembered over restarts to clear removed ones."""

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
    """The constant part of every state of a pipeline: its model, and the key that is null while nothing is known."""

    model: Title
    sha: ShortSha
    key: StateKey

    @classmethod
    def of(cls, plan: PipelinePlan) -> Spoken:
        """Return the constant part that a plan gives."""
        return decode(cls, {"model": plan.model.title, "sha": plan.model.sha256[:8], "key": plan.state_key})


class Remembered(Record, frozen=True):
    """The published places of pipelines (states) and models (statuses) below ``topic``.

    ``states`` holds the constant parts of the states.
    """

    topic: ShortText
    places: Annotated[tuple[tuple[Literal["state", "model"], Name], ...], at_most(10_000)]
    states: Annotated[Mapping[Name, Spoken], at_most(10_000)] = field(default_factory=dict)


class TopicMemory:
    """A small file in the publisher's folder, written only when the names change."""

    def __init__(self) -> None:
        self._known: Remembered | None = None
        self._file = Keepsake(
            Remembered, FILE, MOST_BYTES, "topics of what is removed meanwhile may stay at the broker"
        )

    def load(self, plan: Plan) -> dict[Place, Spoken | None]:
        """Return the places that earlier processes published below the same topic, states with their constant parts."""
        if self._known is None:
            self._known = self._file.read(publisher_folder(plan.state_dir))
            if self._known and self._known.topic != plan.mqtt.topic:
                log.warning("%s", stays(self._known.topic, plan.mqtt))
        if self._known is None or self._known.topic != plan.mqtt.topic:
            return {}
        states = self._known.states
        return {Place(kind, name): states.get(name) if kind == "state" else None for kind, name in self._known.places}

    def save(self, plan: Plan, clearing: Iterable[Place], left: Mapping[str, Spoken] | None = None) -> None:
        """Save the names of this plan and of topics that are not cleared yet. A failed write is repeated the next time.

        ``left`` holds the constant parts of the states of removed pipelines.
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
