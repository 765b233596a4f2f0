"""Which retained topics a broker has from us, remembered over restarts, so that those of what is gone are cleared."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from edge_infer.codec import Size, decode, encode
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import Plan
from edge_infer.messages import Name
from edge_infer.publisher.keepsake import Keepsake
from edge_infer.publisher.topics import Place
from edge_infer.publisher.trouble import stays

log = logging.getLogger(__name__)

FILE: Final = "topics.json"
MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Remembered:
    """Names of pipelines with a state and of models with a status, below ``topic``."""

    topic: str
    places: Annotated[tuple[tuple[Literal["state", "model"], Name], ...], Size(10_000)]


class TopicMemory:
    """A small file in the publisher's folder, written when the names change and never otherwise."""

    def __init__(self) -> None:
        self._known: Remembered | None = None
        self._file = Keepsake(
            Remembered, FILE, MOST_BYTES, "topics of what is removed meanwhile may stay at the broker"
        )

    def load(self, plan: Plan) -> tuple[Place, ...]:
        """What was published below the same topic by processes before this one."""
        if self._known is None:
            self._known = self._file.read(publisher_folder(plan.state_dir))
            if self._known and self._known.topic != plan.mqtt.topic:
                log.warning("%s", stays(self._known.topic, plan.mqtt))
        if self._known is None or self._known.topic != plan.mqtt.topic:
            return ()
        return tuple(Place(kind, name) for kind, name in self._known.places)

    def save(self, plan: Plan, clearing: Iterable[Place]) -> None:
        """Remembers the names of this plan and what is not cleared yet; where it cannot write, the next time."""
        names = [("state", pipeline.name) for pipeline in plan.pipelines]
        names += [("model", name) for name in plan.spoken_of()]
        names += [(place.kind, place.name) for place in clearing if place.kind in ("state", "model")]
        new = decode(Remembered, {"topic": plan.mqtt.topic, "places": encode(sorted(names))})
        if new == self._known:
            return
        if self._file.write(publisher_folder(plan.state_dir), new):
            self._known = new
