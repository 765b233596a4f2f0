"""Where numbered messages wait until the broker has them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol

from edge_infer.messages import OutboxHealth
from edge_infer.publisher.intake import Intake, Series
from edge_infer.publisher.topics import Place
from edge_infer.rooms import Acked, EngineHello

MEMORY_LIMIT: Final = 4 << 20
OVERHEAD: Final = 300
"""Bytes that a waiting message takes beside its payload."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A waiting message. ``number`` orders entries as they were taken; ``late`` ones say so when they are sent."""

    number: int
    series: Series
    seq: int
    payload: bytes
    late: bool

    @property
    def place(self) -> Place:
        """Where it is published."""
        return Place(self.series.kind, self.series.pipeline)


class Outbox(Protocol):
    """Keeps what was taken until it is acknowledged; the account is produced = delivered + pending + lost.

    Used by one thread. No call may wait for a disk or the network, or raise for their faults: an outbox that cannot
    keep its promise says ``degraded`` and goes on as it can. What it gives up it counts by reason: ``full``, ``old``
    (too old), ``handover`` (numbers that the engine left out), or the reason given to `lose` and `drop`.
    """

    def __enter__(self) -> Outbox: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def hello(self, hello: EngineHello) -> None:
        """The engine says which numbers of its boot are safe; `put` counts from there."""

    def put(self, series: Series, seq: int, payload: bytes, *, late: bool) -> bool:
        """Takes a message; False when this number was taken before. The oldest give way when there is no room."""

    def lose(self, series: Series, seq: int, reason: str) -> None:
        """A message that was handed over and cannot be published; counted, and settled for the engine."""

    def next(self, held: Container[Place]) -> Entry | None:
        """The next to send: events before results, each in order, none of the ``held`` places.

        Each entry is given out once, until `again` or `rewind` takes it back.
        """

    def acked(self, entry: Entry) -> None:
        """The broker has it."""

    def drop(self, entry: Entry, reason: str) -> None:
        """It cannot be sent, ever: lost for this reason."""

    def again(self, entry: Entry) -> None:
        """It was not accepted: it waits again at its place, and is late."""

    def rewind(self) -> None:
        """The connection is gone: what was given out and not acknowledged waits again, in order, and is late."""

    def safe(self) -> list[Acked]:
        """What the engine need not keep any longer and was not `told` yet."""

    def told(self, acked: Acked) -> None:
        """The engine has been told."""

    def account(self) -> OutboxHealth:
        """Pending messages and bytes, delivered, lost by reason, degraded."""

    def close(self) -> None:
        """Keeps what it can; may be called twice."""


class MemoryOutbox:
    """An `Outbox` in memory of at most ``limit`` bytes; what waits is lost with the process."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        self._numbers = itertools.count(1)
        self._lanes: dict[str, OrderedDict[int, Entry]] = {"event": OrderedDict(), "result": OrderedDict()}
        self._out: dict[int, Entry] = {}
        self._intake = Intake()
        self._bytes = 0
        self._delivered = 0
        self._lost: Counter[str] = Counter()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hello(self, hello: EngineHello) -> None:
        """See `Outbox`."""
        self._intake.hello(hello)

    def put(self, series: Series, seq: int, payload: bytes, *, late: bool) -> bool:
        """See `Outbox`."""
        if not self._intake.take(series, seq):
            return False
        entry = Entry(next(self._numbers), series, seq, payload, late)
        self._lanes[series.kind][entry.number] = entry
        self._bytes += _size(entry)
        while self._bytes > self._limit and (oldest := self._oldest()):
            self.drop(oldest, "full")
        return True

    def lose(self, series: Series, seq: int, reason: str) -> None:
        """See `Outbox`."""
        if self._intake.take(series, seq):
            self._intake.settle(series, seq)
            self._lost[reason] += 1

    def next(self, held: Container[Place]) -> Entry | None:
        """See `Outbox`."""
        for lane in self._lanes.values():
            for entry in lane.values():
                if entry.place not in held:
                    self._out[entry.number] = lane.pop(entry.number)
                    return entry
        return None

    def acked(self, entry: Entry) -> None:
        """See `Outbox`."""
        self._remove(entry)
        self._delivered += 1

    def drop(self, entry: Entry, reason: str) -> None:
        """See `Outbox`."""
        self._remove(entry)
        self._lost[reason] += 1

    def again(self, entry: Entry) -> None:
        """See `Outbox`."""
        if self._out.pop(entry.number, None):
            self._return([entry])

    def rewind(self) -> None:
        """See `Outbox`."""
        returned, self._out = list(self._out.values()), {}
        self._return(returned)

    def safe(self) -> list[Acked]:
        """See `Outbox`."""
        return self._intake.safe()

    def told(self, acked: Acked) -> None:
        """See `Outbox`."""
        self._intake.told(acked)

    def account(self) -> OutboxHealth:
        """See `Outbox`; it has no disk to be degraded from."""
        lost = dict(self._lost)
        if self._intake.missed:
            lost["handover"] = self._intake.missed
        pending = len(self._out) + sum(map(len, self._lanes.values()))
        return OutboxHealth(pending, self._bytes, self._delivered, lost, degraded=False)

    def close(self) -> None:
        """See `Outbox`."""

    def _oldest(self) -> Entry | None:
        heads = [next(iter(lane.values())) for lane in self._lanes.values() if lane]
        return min(heads, key=lambda entry: entry.number, default=None)

    def _remove(self, entry: Entry) -> None:
        if self._out.pop(entry.number, None) or self._lanes[entry.series.kind].pop(entry.number, None):
            self._bytes -= _size(entry)
            self._intake.settle(entry.series, entry.seq)

    def _return(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._lanes[entry.series.kind][entry.number] = dataclasses.replace(entry, late=True)
        for kind, lane in self._lanes.items():
            self._lanes[kind] = OrderedDict(sorted(lane.items()))


def _size(entry: Entry) -> int:
    return len(entry.payload) + OVERHEAD
