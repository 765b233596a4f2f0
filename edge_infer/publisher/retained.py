"""The newest value of every retained topic, and the topics that the broker has not received yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Final

from edge_infer.publisher.topics import RULES, Place

_ORDER: Final = tuple(RULES)


class Retained:
    """Values without a queue: a newer one replaces an unsent one.

    An empty value clears the topic, and is forgotten once the broker has acknowledged it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[Place, bytes] = {}
        self._said: dict[Place, float] = {}
        self._due: set[Place] = set()
        self._settled: set[Place] = set()
        self._retiring: set[Place] = set()  # topics with a last value that the broker has not acknowledged yet

    def __contains__(self, place: object) -> bool:
        return isinstance(place, Place) and bool(self._values.get(place)) and place not in self._retiring

    def places(self) -> tuple[Place, ...]:
        """Return every topic that has a value or has to be cleared."""
        return tuple(self._values)

    def clearing(self) -> tuple[Place, ...]:
        """Return the topics that the broker still has to clear."""
        return tuple(place for place, payload in self._values.items() if not payload or place in self._retiring)

    def values(self) -> dict[Place, bytes]:
        """Return a copy for `restore`; topics with a last value are empty in it."""
        return {place: b"" if place in self._retiring else payload for place, payload in self._values.items()}

    def restore(self, values: dict[Place, bytes]) -> None:
        """Restore the values; a new connection sends them."""
        self._values = dict(values)
        self._settled.clear()
        self._retiring.clear()

    def set(self, place: Place, payload: bytes) -> None:
        """Set the newest value. It is sent even if it is unchanged, because a heartbeat is news too."""
        self._values[place] = payload
        self._due.add(place)
        self._settled.discard(place)
        self._retiring.discard(place)

    def retire(self, place: Place, farewell: bytes) -> None:
        """Set the last value of a topic, and clear the topic once the broker has acknowledged it."""
        self.set(place, farewell)
        self._retiring.add(place)

    def settled(self, place: Place) -> bool:
        """Whether the broker has acknowledged the newest value since it was set."""
        return place in self._settled

    def again(self) -> None:
        """Send every value again after a new connection."""
        self._due = set(self._values)

    def refresh(self, kind: str, age: float) -> None:
        """Send values of this kind again that were not sent for ``age`` seconds."""
        before = self._clock() - age
        self._due |= {place for place, at in self._said.items() if place.kind == kind and at < before}

    def next(self, held: Container[Place]) -> tuple[Place, bytes] | None:
        """Return the next value to send, the birth first.

        Each is returned once, until it changes or `again`, `refresh` or `missed`.
        """
        due = [place for place in self._due if place not in held]
        if not due:
            return None
        place = min(due, key=lambda place: (_ORDER.index(place.kind), place.name))
        self._due.discard(place)
        self._said[place] = self._clock()
        return place, self._values[place]

    def missed(self, place: Place) -> None:
        """Send a value again that the broker did not accept."""
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
        """Drop a value that may not be sent; if it was a last value, clear its topic."""
        if place in self._retiring:
            self.set(place, b"")
            return
        self._values.pop(place, None)
        self._said.pop(place, None)
        self._due.discard(place)
