"""Compares the events of two runs over the same recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_infer.engine.replay import Replayed
from edge_infer.engine.scene_picture import sentence
from edge_infer.messages import Event


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a pipeline; ids count objects in order of appearance and do not identify one across runs."""

    pipeline: str
    event: Event

    @property
    def matter(self) -> tuple[object, ...]:
        """The properties that must be equal for two events to match."""
        event = self.event
        return self.pipeline, event.type, event.label, event.zone, event.line, event.direction

    @property
    def moment(self) -> float:
        """Seconds since the start of the recording."""
        return datetime.fromisoformat(self.event.ts.replace("Z", "+00:00")).timestamp()

    def __str__(self) -> str:
        return f"{self.pipeline}: {sentence(self.event)}"


def told(frames: Iterable[Replayed]) -> list[Told]:
    """Return the events of a run."""
    return [Told(replayed.pipeline, said) for replayed in frames for said in replayed.said if isinstance(said, Event)]


def difference(one: Sequence[Told], other: Sequence[Told], within: float) -> Iterator[tuple[str, Told]]:
    """Return the events that are only in ``one`` (``-``) or only in the ``other`` (``+``), by time.

    Two events match if they have the same properties and are at most ``within`` seconds apart; each matches at most
    one.
    """
    left = list(other)
    found: list[tuple[str, Told]] = []
    for each in one:
        near = [it for it in left if it.matter == each.matter and abs(it.moment - each.moment) <= within]
        if near:
            left.remove(min(near, key=lambda it: abs(it.moment - each.moment)))
        else:
            found.append(("-", each))
    found += [("+", each) for each in left]
    return iter(sorted(found, key=lambda entry: entry[1].moment))
