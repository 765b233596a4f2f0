"""Rows of numbers: what the engine counts on its own, and how one message of it is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from edge_infer.publisher.topics import Place
from edge_infer.rooms import NumberedKind

OVERHEAD: Final = 300
"""Bytes that a waiting message takes beside its payload."""


class Series(NamedTuple):
    """One row of numbers: messages of one kind, of one pipeline, from one start of the engine."""

    pipeline: str
    boot: str
    kind: NumberedKind

    @property
    def place(self) -> Place:
        """Where its messages are published."""
        return Place(self.kind, self.pipeline)


@dataclass(frozen=True, slots=True)
class Entry:
    """A waiting message. ``number`` orders entries as they were taken; ``late`` ones say so when they are sent.

    ``taken`` is the uptime in seconds at which it was taken.
    """

    number: int
    series: Series
    seq: int
    payload: bytes
    late: bool
    taken: float = 0.0

    @property
    def place(self) -> Place:
        """Where it is published."""
        return self.series.place

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.payload) + OVERHEAD
