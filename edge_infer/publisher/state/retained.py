"""Retained topics: the newest value of each topic, and the topics that this device has left at the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Annotated, Final, Literal

from edge_infer.contract.codec import Record, ShortText, at_most, decode, encode, field
from edge_infer.contract.messages import Name, ShortSha, Title
from edge_infer.contract.topics import RULES, Place
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.platform.paths import publisher_folder
from edge_infer.publisher.json_file import JsonFile
from edge_infer.publisher.mqtt.connection_failure import BrokerAddress, stays

# The newest value of every retained topic, and which of them the broker has not received yet.

_ORDER: Final = tuple(RULES)


class Retained:
    """Values without a queue: a newer value replaces an unsent one.

    An empty value clears the topic. It is forgotten once the broker has acknowledged it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[Place, bytes] = {}
        self._said: dict[Place, float] = {}
        self._due: set[Place] = set()
        self._settled: set[Place] = set()
        self._retiring: set[Place] = set()  # topics with a last value that is not acknowledged yet

    def __contains__(self, place: object) -> bool:
        return isinstance(place, Place) and bool(self._values.get(place)) and place not in self._retiring

    def places(self) -> tuple[Place, ...]:
        """Return every topic that has a value or has to be cleared."""
        return tuple(self._values)

    def clearing(self) -> tuple[Place, ...]:
        """Return the topics with a retained message that still has to be cleared at the broker."""
        return tuple(place for place, payload in self._values.items() if not payload or place in self._retiring)

    def values(self) -> dict[Place, bytes]:
        """Return a copy of the values for `restore`; in the copy, a topic with a last value is empty."""
        return {place: b"" if place in self._retiring else payload for place, payload in self._values.items()}

    def restore(self, values: dict[Place, bytes]) -> None:
        """Restore the values, so that a new connection sends them."""
        self._values = dict(values)
        self._settled.clear()
        self._retiring.clear()

    def set(self, place: Place, payload: bytes) -> None:
        """Set the newest value. It is sent even if it is unchanged, because subscribers need the heartbeat."""
        self._values[place] = payload
        self._due.add(place)
        self._settled.discard(place)
        self._retiring.discard(place)

    def retire(self, place: Place, farewell: bytes) -> None:
        """Set the last value of a topic. Clear the topic once the broker has acknowledged that value."""
        self.set(place, farewell)
        self._retiring.add(place)

    def settled(self, place: Place) -> bool:
        """Whether the broker has acknowledged the newest value since it was set."""
        return place in self._settled

    def again(self) -> None:
        """Send every value again, after a new connection."""
        self._due = set(self._values)

    def refresh(self, kind: str, age: float) -> None:
        """Send values of this kind again if they were not sent for ``age`` seconds."""
        before = self._clock() - age
        self._due |= {place for place, at in self._said.items() if place.kind == kind and at < before}

    def next(self, held: Container[Place]) -> tuple[Place, bytes] | None:
        """Return the next value to send, the ``online`` status first.

        Each value is returned once, until it changes, or until `again`, `refresh` or `missed` is called.
        """
        due = [place for place in self._due if place not in held]
        if not due:
            return None
        place = min(due, key=lambda place: (_ORDER.index(place.kind), place.name))
        self._due.discard(place)
        self._said[place] = self._clock()
        return place, self._values[place]

    def missed(self, place: Place) -> None:
        """Send a value again, because the broker did not accept it."""
        if place in self._values:
            self._due.add(place)

    def acked(self, place: Place, payload: bytes) -> None:
        """Record an acknowledgement; forget a cleared topic."""
        if payload and payload == self._values.get(place):
            self._settled.add(place)
            if place in self._retiring:
                self.set(place, b"")
        if not payload and not self._values.get(place, b"?"):
            del self._values[place]
            self._said.pop(place, None)
            self._due.discard(place)

    def forget(self, place: Place) -> None:
        """Drop a value that must not be sent. If it was a last value, clear its topic."""
        if place in self._retiring:
            self.set(place, b"")
            return
        self._values.pop(place, None)
        self._said.pop(place, None)
        self._due.discard(place)


# The retained topics that this device has left at the broker. They are stored, so that removed ones can be cleared
# after a restart.

log = logging.getLogger(__name__)

FILE: Final = "topics.json"
MOST_BYTES: Final = 1 << 20
MAX_PLACES: Final = 10_000
"""Maximum number of remembered topics. If there are more, removed ones may remain at the broker."""


StateKey = Literal["counts", "class_", "anomaly", "values"]


class Spoken(Record, frozen=True):
    """The constant part of all states of a pipeline: its model, and the key that is null while nothing is known."""

    model: Title
    sha: ShortSha
    key: StateKey

    @classmethod
    def of(cls, plan: PipelinePlan) -> Spoken:
        """Return the constant part that a plan gives."""
        return decode(cls, {"model": plan.model.title, "sha": plan.model.sha256[:8], "key": plan.state_key})


class Remembered(Record, frozen=True):
    """The published topics below ``topic``: of pipelines (states) and of models (statuses).

    ``states`` holds the constant parts of the states. ``broker`` is the broker that has the topics; earlier versions
    did not store it.
    """

    topic: ShortText
    places: Annotated[tuple[tuple[Literal["state", "model"], Name], ...], at_most(MAX_PLACES)]
    states: Annotated[Mapping[Name, Spoken], at_most(MAX_PLACES)] = field(default_factory=dict)
    broker: BrokerAddress | None = None


class RetainedTopicRegistry:
    """A small file in the publisher's folder. It is written only when the names change."""

    def __init__(self) -> None:
        self._known: Remembered | None = None
        self._file = JsonFile(
            Remembered, FILE, MOST_BYTES, "retained topics of pipelines that are removed now may stay at the broker"
        )

    def load(self, plan: Plan) -> dict[Place, Spoken | None]:
        """Return the topics that earlier processes published below the same prefix; for states the constant parts."""
        if self._known is None:
            self._known = self._file.read(publisher_folder(plan.state_dir))
            if self._known and self._known.topic != plan.mqtt.topic:
                log.warning("%s", stays(self._known.topic, self._known.broker or BrokerAddress.of(plan.mqtt)))
        if self._known is None or self._known.topic != plan.mqtt.topic:
            return {}
        states = self._known.states
        return {Place(kind, name): states.get(name) if kind == "state" else None for kind, name in self._known.places}

    def save(self, plan: Plan, clearing: Iterable[Place], left: Mapping[str, Spoken] | None = None) -> None:
        """Store the names of this plan, and of topics that are not cleared yet.

        A failed write is repeated with the next call.

        ``left`` holds the constant parts of the states of removed pipelines.
        """
        clearing = tuple(clearing)
        names = [("state", pipeline.name) for pipeline in plan.pipelines]
        names += [("model", name) for name in plan.spoken_of()]
        kept = [each for each in clearing if each.kind in ("state", "model")][: max(0, MAX_PLACES - len(names))]
        names += [(place.kind, place.name) for place in kept]
        removed = set(kept)
        states = {name: spoken for name, spoken in (left or {}).items() if Place("state", name) in removed}
        states |= {pipeline.name: Spoken.of(pipeline) for pipeline in plan.pipelines}
        of = {name: encode(states[name]) for name in sorted(states)}
        broker = encode(BrokerAddress.of(plan.mqtt))
        new = decode(
            Remembered,
            {"topic": plan.mqtt.topic, "places": encode(sorted(names)), "states": of, "broker": broker},
        )
        if new == self._known:
            return
        if self._file.write(publisher_folder(plan.state_dir), new):
            self._known = new
