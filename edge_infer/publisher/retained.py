"""The newest value of every retained topic, and which of them the broker has yet to hear."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Final

from edge_infer.publisher.topics import RULES, Place

_ORDER: Final = tuple(RULES)


class Retained:
    """Values do not queue: a newer one replaces what was not sent yet. An empty value clears the topic
    and is forgotten once the broker has heard it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[Place, bytes] = {}
        self._said: dict[Place, float] = {}
        self._due: set[Place] = set()
        self._settled: set[Place] = set()
        self._retiring: set[Place] = set()  # what has a last value, which the broker has yet to hear

    def __contains__(self, place: object) -> bool:
        return isinstance(place, Place) and bool(self._values.get(place)) and place not in self._retiring

    def places(self) -> tuple[Place, ...]:
        """Every topic that has a value, or has to be cleared."""
        return tuple(self._values)

    def clearing(self) -> tuple[Place, ...]:
        """Topics that the broker has yet to forget."""
        return tuple(place for place, payload in self._values.items() if not payload or place in self._retiring)

    def values(self) -> dict[Place, bytes]:
        """A copy, for `restore`; what has a last value is empty in it."""
        return {place: b"" if place in self._retiring else payload for place, payload in self._values.items()}

    def restore(self, values: dict[Place, bytes]) -> None:
        """Puts back what was there; a new connection will say it."""
        self._values = dict(values)
        self._settled.clear()
        self._retiring.clear()

    def set(self, place: Place, payload: bytes) -> None:
        """The newest value; sent even when it is the same, because a heartbeat is news too."""
        self._values[place] = payload
        self._due.add(place)
        self._settled.discard(place)
        self._retiring.discard(place)

    def retire(self, place: Place, farewell: bytes) -> None:
        """The last value of a topic; it is cleared once the broker has heard that."""
        self.set(place, farewell)
        self._retiring.add(place)

    def settled(self, place: Place) -> bool:
        """Whether the broker has heard the newest value since it was set."""
        return place in self._settled

    def again(self) -> None:
        """A new connection: everything is said anew."""
        self._due = set(self._values)

    def refresh(self, kind: str, age: float) -> None:
        """What of this kind was not said for ``age`` seconds is said again."""
        before = self._clock() - age
        self._due |= {place for place, at in self._said.items() if place.kind == kind and at < before}

    def next(self, held: Container[Place]) -> tuple[Place, bytes] | None:
        """The next to send, the birth first; each once, until it changes or `again`, `refresh` or `missed`."""
        due = [place for place in self._due if place not in held]
        if not due:
            return None
        place = min(due, key=lambda place: (_ORDER.index(place.kind), place.name))
        self._due.discard(place)
        self._said[place] = self._clock()
        return place, self._values[place]

    def missed(self, place: Place) -> None:
        """It was not accepted."""
        if place in self._values:
            self._due.add(place)

    def acked(self, place: Place, payload: bytes) -> None:
        """The broker has it; a cleared topic is forgotten."""
        if payload and payload == self._values.get(place):
            self._settled.add(place)
            if place in self._retiring:
                self.set(place, b"")
        if not payload and not self._values.get(place, b"?"):
            del self._values[place]
            self._said.pop(place, None)
            self._due.discard(place)

    def forget(self, place: Place) -> None:
        """It may not be sent; what was its last value is left out, and the topic cleared."""
        if place in self._retiring:
            self.set(place, b"")
            return
        self._values.pop(place, None)
        self._said.pop(place, None)
        self._due.discard(place)
