"""Which retained topics a broker has from us, remembered over restarts, so that those of what is gone are cleared."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from edge_infer.codec import Size, decode, dumps, encode, loads
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import Plan
from edge_infer.errors import WireError
from edge_infer.messages import Name
from edge_infer.publisher.rarely import Rarely
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
        self._rarely = Rarely(3600.0)

    def load(self, plan: Plan) -> tuple[Place, ...]:
        """What was published below the same topic by processes before this one."""
        if self._known is None:
            self._known = self._read(publisher_folder(plan.state_dir) / FILE)
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
        path = publisher_folder(plan.state_dir) / FILE
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.with_suffix(".new").write_bytes(dumps(encode(new)))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            if self._rarely.due(path):
                log.warning(
                    "%s cannot be written (%s): topics of pipelines that are removed while the daemon is stopped stay",
                    path, error.strerror,
                )  # fmt: skip
        else:
            self._known = new

    def _read(self, path: Path) -> Remembered | None:
        try:
            with path.open("rb") as file:
                return decode(Remembered, loads(file.read(MOST_BYTES)))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            log.warning("%s cannot be read, topics of removed pipelines may stay at the broker: %s", path, error)
            return None
