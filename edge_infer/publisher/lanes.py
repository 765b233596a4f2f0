"""The order of waiting messages: events before results, live before backlog, each in sequence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Final

from edge_infer.codec import replace
from edge_infer.publisher.series import Entry
from edge_infer.publisher.shelf import Shelf
from edge_infer.publisher.topics import Kind, Place

_KINDS: Final[tuple[Kind, ...]] = ("event", "result")
FAIR: Final = 8
"""At least one message of this many comes from the backlog, if there is one. Otherwise live ones could block it for
ever."""


class Lanes:
    """Gives each entry out once.

    The queues are separate by place, so that one that the broker denies does not block others.
    """

    def __init__(self) -> None:
        self._live: dict[Place, dict[int, Entry]] = {}
        self.shelves: dict[Place, Shelf] = {}
        self._live_in_a_row = 0

    def put(self, entry: Entry) -> None:
        """Add the newest entry. Late ones go to the backlog."""
        if entry.late:
            self.shelf(entry.place).put(entry)
        else:
            self._live.setdefault(entry.place, {})[entry.number] = entry

    def next(self, held: Container[Place], *, backlog: bool = True) -> Entry | None:
        """Return the next entry outside the ``held`` places; None also while it is being read from the disk.

        Without ``backlog`` only live entries leave: the backlog leaves in order, and older entries may still come from
        the file.
        """
        if backlog and self._live_in_a_row >= FAIR - 1 and (entry := self._from_backlog(held)):
            return entry
        for kind in _KINDS:
            heads = (
                (next(iter(lane)), lane) for place, lane in self._live.items() if self._open(place, kind, held, lane)
            )
            if found := min(heads, key=lambda head: head[0], default=None):
                self._live_in_a_row += 1
                return found[1].pop(found[0])
        return self._from_backlog(held) if backlog else None

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Put entries that were given out back at their position in the backlog."""
        for entry in entries:
            self.shelf(entry.place).put(replace(entry, late=True))

    def turn_late(self, before: float) -> None:
        """Move live entries that were taken before this uptime to the backlog: they have waited too long."""
        for place, lane in self._live.items():
            while lane and (entry := next(iter(lane.values()))).taken < before:
                del lane[entry.number]
                self.shelf(place).put(replace(entry, late=True))

    def remove(self, place: Place, number: int) -> bool:
        """Remove a waiting entry; return False if it does not wait here."""
        return self._live.get(place, {}).pop(number, None) is not None or self.shelf(place).remove(number)

    def shelf(self, place: Place) -> Shelf:
        """Return the backlog of a place."""
        return self.shelves.get(place) or self.shelves.setdefault(place, Shelf())

    def entries(self) -> Iterator[Entry]:
        """Yield all entries that wait in memory."""
        for lane in self._live.values():
            yield from lane.values()
        for shelf in self.shelves.values():
            yield from shelf.entries()

    def __len__(self) -> int:
        return sum(map(len, self._live.values())) + sum(map(len, self.shelves.values()))

    def _open(self, place: Place, kind: Kind, held: Container[Place], lane: dict[int, Entry]) -> bool:
        return bool(lane) and place.kind == kind and place not in held

    def _from_backlog(self, held: Container[Place]) -> Entry | None:
        self._live_in_a_row = 0
        for kind in _KINDS:
            heads = (
                (entry.number, shelf)
                for place, shelf in self.shelves.items()
                if place.kind == kind and place not in held and (entry := shelf.head())
            )
            if found := min(heads, key=lambda head: head[0], default=None):
                return found[1].pop()
        return None
