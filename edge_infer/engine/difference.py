"""Which events two runs over the same recording differ in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_infer.engine.replay import Replayed
from edge_infer.engine.scene_picture import sentence
from edge_infer.messages import Event


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a pipeline; ids are numbered as they come, so they tell nothing of who is the same."""

    pipeline: str
    event: Event

    @property
    def matter(self) -> tuple[object, ...]:
        """What has to be the same."""
        event = self.event
        return self.pipeline, event.type, event.label, event.zone, event.line, event.direction

    @property
    def moment(self) -> float:
        """Seconds into the recording."""
        return datetime.fromisoformat(self.event.ts.replace("Z", "+00:00")).timestamp()

    def __str__(self) -> str:
        return f"{self.pipeline}: {sentence(self.event)}"


def told(frames: Iterable[Replayed]) -> list[Told]:
    """The events of a run."""
    return [Told(replayed.pipeline, said) for replayed in frames for said in replayed.said if isinstance(said, Event)]


def difference(one: Sequence[Told], other: Sequence[Told], within: float) -> Iterator[tuple[str, Told]]:
    """Events that are only in ``one`` (``-``) or in the ``other`` (``+``), by time.

    Two that say the same within so many seconds are the same; each is so with one at most.
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
