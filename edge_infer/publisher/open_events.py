"""What subscribers believe to go on: events that began and have not ended, remembered over the death of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from edge_infer.boot import of_this_kernel, uptime
from edge_infer.codec import ABSENT, Range, Size
from edge_infer.messages import Boot, Event, EventType, Name, Reason, timestamp
from edge_infer.publisher.clock import seconds
from edge_infer.publisher.keepsake import Keepsake
from edge_infer.rooms import Handover

FILE: Final = "open-events.json"
MOST: Final = 16384
"""Events that are remembered, the oldest first to go; an engine opens at most 256 in each pipeline."""
MOST_BYTES: Final = 16 << 20
WRITE_EVERY: Final = 1.0
"""Seconds between two writes: killing everything at once loses at most the last second."""
_ENDS: Final[dict[EventType, EventType]] = {"appear": "leave", "enter": "exit", "start": "end"}
_BEGINS: Final = {end: begin for begin, end in _ENDS.items()}

_Key: TypeAlias = tuple[str, str, EventType, object, object, object]


@dataclass(frozen=True, slots=True)
class _Last:
    """The highest number of an event of a pipeline in a boot."""

    pipeline: Name
    boot: Boot
    seq: Annotated[int, Range(1, 2**53)]


@dataclass(frozen=True, slots=True)
class Remembered:
    """The file: the begins of what is open, and where the numbers of their boots have come to."""

    begun: Annotated[tuple[Handover, ...], Size(MOST)] = ()
    last: Annotated[tuple[_Last, ...], Size(MOST)] = ()


class OpenEvents:
    """Learns from every event that was taken; ends what an engine that is gone has left open."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folder: Path | None = None
        self._file = Keepsake(Remembered, FILE, MOST_BYTES, "events that are open now may stay open at the broker")
        self._begun: dict[_Key, Handover] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._changed = False
        self._write_at = 0.0

    def load(self, folder: Path) -> None:
        """Takes in what a process before this one has left; what is known already stays."""
        if self._folder is not None:
            return
        self._folder = folder
        found = self._file.read(folder) or Remembered()
        for last in found.last:
            self._last.setdefault((last.pipeline, last.boot), last.seq)
        for handover in found.begun:
            if (event := handover.message) and isinstance(event, Event):
                self._begun.setdefault(_key(handover.pipeline, event), handover)

    def begun(self) -> tuple[Handover, ...]:
        """The begins of everything that is open."""
        return tuple(self._begun.values())

    def note(self, handover: Handover) -> None:
        """A message was taken; results are of no interest."""
        pipeline, event = handover.pipeline, handover.message
        if not isinstance(event, Event):
            return
        key, series = _key(pipeline, event), (pipeline, event.boot)
        self._last[series] = max(event.seq, self._last.get(series, 0))
        self._changed = self._changed or bool(self._begun)
        if event.type in _ENDS:
            self._begun[key] = handover
            self._changed = True
            while len(self._begun) > MOST:
                del self._begun[next(iter(self._begun))]
        elif event.type in _BEGINS and self._begun.pop(key, None) is not None:
            self._changed = True

    def reached(self, pipeline: str, boot: str, seq: int) -> None:
        """So far have the numbers of the events of a boot come, as others know."""
        self._last[pipeline, boot] = max(seq, self._last.get((pipeline, boot), 0))

    def end(self, reason: Reason, gone: Callable[[str], bool]) -> tuple[Handover, ...]:
        """Ends of what is open in boots that are ``gone``; zones before the objects in them. They have to be noted."""
        open_now = [found for found in self._begun.values() if gone(found.message.boot)]
        open_now.sort(key=lambda found: isinstance(found.message, Event) and found.message.type != "enter")
        numbers = dict(self._last)
        return tuple(self._ended(found, reason, numbers) for found in open_now)

    def save(self, *, now: bool = False) -> None:
        """Writes the file when something has changed, at most once a second unless ``now``."""
        if self._folder is None or not self._changed or (self._clock() < self._write_at and not now):
            return
        self._write_at = self._clock() + WRITE_EVERY
        boots = {(found.pipeline, found.message.boot) for found in self._begun.values()}
        last = tuple(_Last(*series, seq) for series, seq in self._last.items() if series in boots)
        self._last = {series: seq for series, seq in self._last.items() if series in boots or self._newest(series)}
        if self._file.write(self._folder, Remembered(self.begun(), last)):
            self._changed = False

    def _newest(self, series: tuple[str, str]) -> bool:
        """Whether no later boot of this pipeline is known."""
        return [known for known in self._last if known[0] == series[0]][-1] == series

    def _ended(self, begun: Handover, reason: Reason, numbers: dict[tuple[str, str], int]) -> Handover:
        event, series = begun.message, (begun.pipeline, begun.message.boot)
        assert isinstance(event, Event)
        numbers[series] = numbers.get(series, event.seq) + 1
        ended = replace(event, type=_ENDS[event.type], seq=numbers[series], reason=reason, box=ABSENT, replay=ABSENT)
        now, since, at = time.time(), event.since, None
        if begun.at is not None and of_this_kernel(event.boot):  # as long ago as it was, whatever the clock did
            at = uptime()
            lasted = at - begun.at + (0.0 if since is ABSENT else seconds(event.ts) - seconds(since))
            since = timestamp(max(0.0, now - lasted))
        return Handover(begun.pipeline, replace(ended, ts=timestamp(now), since=since), at)


def events_of(handovers: Iterable[Handover]) -> Iterable[tuple[str, Event]]:
    """Pipelines and events."""
    return ((each.pipeline, each.message) for each in handovers if isinstance(each.message, Event))


def _key(pipeline: str, event: Event) -> _Key:
    """What begin and end of one thing have in common."""
    begin = _BEGINS.get(event.type, event.type)
    label = event.label if begin == "start" else ABSENT
    return pipeline, event.boot, begin, event.id, event.zone, label
