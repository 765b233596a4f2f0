"""Interface of the queue of numbered messages that wait for the broker."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol

from edge_infer.contract.messages import OutboxHealth
from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import Acked, NumberedKind, Tally
from edge_infer.plan.records import OutboxPlan

# Series: independent sequences of message numbers, and their entries in the outbox.

OVERHEAD: Final = 300
"""Bytes that a waiting message takes beside its payload."""


class MessageSeries(NamedTuple):
    """One sequence of numbers: messages of one kind, of one pipeline, from one start (boot) of the engine."""

    pipeline: str
    boot: str
    kind: NumberedKind

    @property
    def place(self) -> Place:
        """The place where its messages are published."""
        return Place(self.kind, self.pipeline)


@dataclass(frozen=True, slots=True)
class Entry:
    """A waiting message. ``number`` orders entries as they were taken; ``late`` ones are marked when they are sent.

    ``taken`` is the uptime in seconds at which it was taken.
    """

    number: int
    series: MessageSeries
    seq: int
    payload: bytes
    late: bool
    taken: float = 0.0

    @property
    def place(self) -> Place:
        """The place where it is published."""
        return self.series.place

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.payload) + OVERHEAD


class AbstractOutbox(Protocol):
    """Keeps messages until the broker acknowledges them. Its account is produced = delivered + pending + lost.

    One thread uses it. No call may wait for a disk or the network, or raise for their errors. If it cannot store
    messages it reports ``degraded`` and continues as well as it can. It counts lost messages by reason:

    - ``full``
    - ``old``: too old
    - ``handover``: numbers that the engine left out
    - ``unknown``: the process that knew more has died
    - ``corrupt``: the file was corrupt
    - the reason given to `lose` or `drop`
    """

    def __enter__(self) -> AbstractOutbox: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def use(self, folder: Path, plan: OutboxPlan) -> None:
        """Store waiting messages in this folder, within these limits. Another folder needs another process."""

    @property
    def ready(self) -> bool:
        """Whether the earlier backlog is known.

        Only then may an engine's numbers be taken, and its death be reported.
        """

    def files(self) -> list[int]:
        """Return the descriptors to wait for: when one is readable, `step` has something to do."""

    def due(self) -> float:
        """Return the seconds until `step` has something to do without a readable descriptor."""

    def step(self) -> None:
        """Do what is due."""

    def started(self, boot: str) -> None:
        """Record the start of an engine: every earlier one has ended."""

    def resume(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Set the safe numbers of a boot, as the engine reports them, or the supervisor for a dead engine.

        `put` continues there.
        """

    def report(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Record how far the engine has numbered: messages that it keeps are pending, too."""

    def ended(self, boot: str, tallies: Iterable[Tally]) -> None:
        """End a boot: no more messages come. Its missing numbers count as ``unknown``."""

    def put(self, series: MessageSeries, seq: int, payload: bytes, *, late: bool, missing: str = "handover") -> bool:
        """Add a message; return False if this number was taken before. Without space, the oldest messages are dropped.

        Skipped numbers before it are lost for the reason ``missing``.
        """

    def lose(self, series: MessageSeries, seq: int, reason: str, missing: str = "handover") -> None:
        """Count a message that was handed over and cannot be published as lost. For the engine it is then safe."""

    def leave_out(self, series: MessageSeries, count: int, seq: int) -> None:
        """Leave out ``count`` numbers before ``seq`` on purpose: it is not known whether they were used."""

    def highest(self, series: MessageSeries) -> int:
        """Return the highest known number of a series; 0 for none."""

    def next(self, held: Container[Place]) -> Entry | None:
        """Return the next entry to send, outside the ``held`` places.

        Events precede results, and live entries precede the backlog; each group is in order. Each entry is given out
        once, until `again` or `rewind` takes it back.
        """

    def acked(self, entry: Entry) -> None:
        """Record that the broker has acknowledged an entry."""

    def drop(self, entry: Entry, reason: str) -> None:
        """Count an entry that can never be sent as lost for this reason."""

    def again(self, entry: Entry) -> None:
        """Put back an entry that the broker did not accept: it waits at its position, marked late."""

    def rewind(self) -> None:
        """Put back every unacknowledged entry in order, all marked late: the connection is gone."""

    @property
    def settled(self) -> int:
        """How many numbers have become safe or lost since the last call of `safe`."""

    def safe(self) -> list[Acked]:
        """Return the messages that the engine may forget and that are not yet acknowledged to it (see `told`)."""

    def told(self, acked: Acked) -> None:
        """Record that the engine has received this acknowledgement."""

    def account(self) -> OutboxHealth:
        """Return pending messages and bytes, delivered, lost by reason, and degraded."""

    def close(self) -> None:
        """Store as much as possible and close. May be called twice."""
