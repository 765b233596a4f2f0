"""Series of message numbers, and the messages of the outbox that wait for the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import NumberedKind

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
    """A waiting message. Entries with a lower ``number`` entered the outbox earlier.

    A ``late`` one is marked when it is sent.

    ``taken`` is the board's uptime in seconds when the outbox took the message.
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
        """Bytes that the message takes in the outbox."""
        return len(self.payload) + OVERHEAD
