"""Where numbered messages wait until the broker has them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edge_infer.config.plan import OutboxPlan
from edge_infer.messages import OutboxHealth
from edge_infer.publisher.series import Entry, Series
from edge_infer.publisher.topics import Place
from edge_infer.rooms import Acked, Tally


class Outbox(Protocol):
    """Keeps what was taken until it is acknowledged; the account is produced = delivered + pending + lost.

    Used by one thread. No call may wait for a disk or the network, or raise for their faults: an outbox that cannot
    keep its promise says ``degraded`` and goes on as it can. What it gives up it counts by reason: ``full``, ``old``
    (too old), ``handover`` (numbers that the engine left out), ``unknown`` (whoever knew more has died), ``corrupt``
    (the file was), or the reason given to `lose` and `drop`.
    """

    def __enter__(self) -> Outbox: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def use(self, folder: Path, plan: OutboxPlan) -> None:
        """Keeps what waits in this folder, within these bounds; another folder takes another process."""

    @property
    def ready(self) -> bool:
        """Whether it knows what waited before: numbers of an engine may be taken, and its death told, only then."""

    def files(self) -> list[int]:
        """What to wait for until it is readable: `step` has something to do."""

    def due(self) -> float:
        """Seconds until `step` has something to do all the same."""

    def step(self) -> None:
        """Does what is due."""

    def started(self, boot: str) -> None:
        """An engine starts: whatever ran before it has ended."""

    def resume(self, boot: str, tallies: Iterable[Tally]) -> None:
        """The engine, or for a dead one the supervisor, says which numbers of a boot are safe; `put` goes on there."""

    def report(self, boot: str, tallies: Iterable[Tally]) -> None:
        """How far the engine has numbered: what it keeps is pending, too."""

    def ended(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Nothing more comes of this boot; what of its numbers did not come is counted as ``unknown``."""

    def put(self, series: Series, seq: int, payload: bytes, *, late: bool, missing: str = "handover") -> bool:
        """Takes a message; False when this number was taken before. The oldest give way when there is no room.

        ``missing`` is the reason for which numbers that were left out before it are lost.
        """

    def lose(self, series: Series, seq: int, reason: str, missing: str = "handover") -> None:
        """A message that was handed over and cannot be published; counted, and settled for the engine."""

    def highest(self, series: Series) -> int:
        """The highest number that is known of a series; 0 for none."""

    def next(self, held: Container[Place]) -> Entry | None:
        """The next to send: events before results, live ones before those of before, each in order, none of ``held``.

        Each entry is given out once, until `again` or `rewind` takes it back.
        """

    def acked(self, entry: Entry) -> None:
        """The broker has it."""

    def drop(self, entry: Entry, reason: str) -> None:
        """It cannot be sent, ever: lost for this reason."""

    def again(self, entry: Entry) -> None:
        """It was not accepted: it waits again at its place, and is late."""

    def rewind(self) -> None:
        """The connection is gone: what was given out and not acknowledged waits again, in order; all is late."""

    def safe(self) -> list[Acked]:
        """What the engine need not keep any longer and was not `told` yet."""

    def told(self, acked: Acked) -> None:
        """The engine has been told."""

    def account(self) -> OutboxHealth:
        """Pending messages and bytes, delivered, lost by reason, degraded."""

    def close(self) -> None:
        """Keeps what it can; may be called twice."""
