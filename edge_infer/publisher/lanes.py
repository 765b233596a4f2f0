"""The order in which waiting messages leave: events before results, live before backlog, each in order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Final

from edge_infer.codec import replace
from edge_infer.publisher.series import Entry
from edge_infer.publisher.shelf import Shelf
from edge_infer.publisher.topics import Kind, Place

_KINDS: Final[tuple[Kind, ...]] = ("event", "result")
FAIR: Final = 8
"""Of so many messages one at least is of the backlog, where there is one: live ones could hold it up for ever."""


class Lanes:
    """Gives each entry out once. By place, so that one that the broker denies costs the others nothing."""

    def __init__(self) -> None:
        self._live: dict[Place, dict[int, Entry]] = {}
        self.shelves: dict[Place, Shelf] = {}
        self._live_in_a_row = 0

    def put(self, entry: Entry) -> None:
        """The newest entry of all; late ones go to the backlog."""
        if entry.late:
            self.shelf(entry.place).put(entry)
        else:
            self._live.setdefault(entry.place, {})[entry.number] = entry

    def next(self, held: Container[Place], *, backlog: bool = True) -> Entry | None:
        """The next one, none of the ``held`` places; None also while it is being read from the disk.

        Without ``backlog`` only live ones leave: what waited is late among itself, and older ones may be to come.
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
        """What was given out waits again, at its place in the backlog."""
        for entry in entries:
            self.shelf(entry.place).put(replace(entry, late=True))

    def turn_late(self, before: float) -> None:
        """Live entries that were taken before this uptime have waited too long: they are backlog now."""
        for place, lane in self._live.items():
            while lane and (entry := next(iter(lane.values()))).taken < before:
                del lane[entry.number]
                self.shelf(place).put(replace(entry, late=True))

    def remove(self, place: Place, number: int) -> bool:
        """An entry that waits no longer; False when it does not wait here."""
        return self._live.get(place, {}).pop(number, None) is not None or self.shelf(place).remove(number)

    def shelf(self, place: Place) -> Shelf:
        """The backlog of a place."""
        return self.shelves.get(place) or self.shelves.setdefault(place, Shelf())

    def entries(self) -> Iterator[Entry]:
        """All that wait in memory."""
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
