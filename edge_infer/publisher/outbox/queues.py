"""The order of waiting messages: events before results, live before backlog, each in sequence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.contract.topics import Kind, Place
from edge_infer.publisher.outbox.entry import Entry

# The backlog of one place: the beginning in memory, the long middle only on disk, the newest in memory again.

KEPT: Final = 256
"""Entries of a place that stay in memory although they are on the disk."""
LOW: Final = 128
"""Number of entries in memory below which the next ones have to be read."""


@dataclass(slots=True)
class SpilledRange:
    """The entries after one number and up to another, which are only on the disk; ``count`` of them are queued.

    The disk may hold more entries of this range: some were given out, and some are settled but not deleted yet.
    """

    after: int | None
    upto: int
    count: int

    def __contains__(self, number: int) -> bool:
        return (self.after is None or number > self.after) and number <= self.upto


class PagedQueue:
    """Entries by number, with at most one range that is only on the disk."""

    def __init__(self) -> None:
        self._front: dict[int, Entry] = {}
        self._rest: dict[int, Entry] = {}  # after the hole; empty without one
        self.hole: SpilledRange | None = None
        self.reading = False

    def __len__(self) -> int:
        return len(self._front) + len(self._rest) + (self.hole.count if self.hole else 0)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in memory."""
        yield from self._front.values()
        yield from self._rest.values()

    def put(self, entry: Entry) -> None:
        """Insert an entry, new or given back, at its position.

        An entry in the range of `hole` is already on the disk.
        """
        if self.hole and entry.number in self.hole:
            self.hole.count += 1
        elif self.hole and entry.number > self.hole.upto:
            _insert(self._rest, entry)
        else:
            _insert(self._front, entry)

    def head(self) -> Entry | None:
        """Return the first entry; None if there is none or it has to be read first."""
        return next(iter(self._front.values()), None)

    def pop(self) -> Entry:
        """Take the first entry."""
        return self._front.pop(next(iter(self._front)))

    def remove(self, number: int) -> bool:
        """Remove an entry that is neither given out nor settled; return False if it is not here."""
        if self._front.pop(number, None) or self._rest.pop(number, None):
            return True
        if self.hole and number in self.hole and self.hole.count:
            self.hole.count -= 1
            return True
        return False

    def waits_on_disk(self, count: int, upto: int) -> None:
        """Start with this many entries on the disk, up to this number; they precede all entries in memory."""
        self._rest, self._front = {**self._front, **self._rest}, {}
        self.hole = SpilledRange(None, upto, count)

    @property
    def wants(self) -> bool:
        """Whether the next entries have to be read and no read is under way."""
        return self.hole is not None and not self.reading and len(self._front) < LOW

    def fill(self, rows: list[Entry], skip: Container[int], *, complete: bool) -> int:
        """Add entries that were read, in order, except those to ``skip``.

        ``complete``: no further entries are on the disk. The result is then the number of missing entries, otherwise 0.
        """
        self.reading = False
        if self.hole is None:
            return 0
        fresh = {entry.number: entry for entry in rows if entry.number in self.hole and entry.number not in skip}
        self._front.update(fresh)
        self.hole.count -= len(fresh)
        if rows:
            self.hole.after = rows[-1].number
        if not complete:
            return 0
        missing, self.hole = self.hole.count, None
        self._front.update(self._rest)
        self._rest = {}
        return max(0, missing)

    def release(self, upto: int, kept: int = KEPT) -> None:
        """Drop entries up to this number from memory, because they are on the disk; keep the first ones."""
        if self.hole:
            released = [number for number in self._rest if number <= upto]
            for number in released:
                del self._rest[number]
            if released:
                self.hole.count += len(released)
                self.hole.upto = released[-1]
            return
        released = [number for number in list(self._front)[kept:] if number <= upto]
        if len(released) < kept:  # too few to be worth reading again
            return
        first = released[0]
        self._rest = {number: entry for number, entry in self._front.items() if number > released[-1]}
        self._front = {number: entry for number, entry in self._front.items() if number < first}
        self.hole = SpilledRange(first - 1, released[-1], len(released))

    def forget_disk(self) -> int:
        """Forget the entries that only the disk had, and return their number."""
        missing = self.hole.count if self.hole else 0
        self._front.update(self._rest)
        self._rest, self.hole, self.reading = {}, None, False
        return missing


def _insert(part: dict[int, Entry], entry: Entry) -> None:
    last = next(reversed(part), None)
    part[entry.number] = entry
    if last is not None and entry.number < last:
        ordered = sorted(part.items())
        part.clear()
        part.update(ordered)


_KINDS: Final[tuple[Kind, ...]] = ("event", "result")
FAIR: Final = 8
"""At least one in this many messages comes from the backlog, if there is a backlog. Otherwise live messages could block
it for ever."""


class PriorityQueues:
    """Gives each entry out once.

    Each place has its own queue, so that a place that the broker denies does not block others.
    """

    def __init__(self) -> None:
        self._live: dict[Place, dict[int, Entry]] = {}
        self.shelves: dict[Place, PagedQueue] = {}
        self._live_in_a_row = 0

    def put(self, entry: Entry) -> None:
        """Add the newest entry. Late ones go to the backlog."""
        if entry.late:
            self.shelf(entry.place).put(entry)
        else:
            self._live.setdefault(entry.place, {})[entry.number] = entry

    def next(self, held: Container[Place], *, backlog: bool = True) -> Entry | None:
        """Return the next entry outside the ``held`` places; None also while the next one is being read from the disk.

        Without ``backlog`` return only live entries: the backlog must be sent in order, and the file may contain older
        entries that are not read yet.
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

    def live(self, place: Place) -> Iterable[int]:
        """Return the numbers of the live entries of a place."""
        return self._live.get(place, {}).keys()

    def shelf(self, place: Place) -> PagedQueue:
        """Return the backlog of a place."""
        return self.shelves.get(place) or self.shelves.setdefault(place, PagedQueue())

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
