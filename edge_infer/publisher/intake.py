"""Which numbered messages were taken from the engine, which are settled, and which will never come."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edge_infer.rooms import Acked, EngineHello, NumberedKind

MOST_SERIES: Final = 1024
"""Series that are remembered: pipelines, boots and kinds that an honest engine has are far fewer."""
MOST_MISSED: Final = 2**53
"""What a count in a message can say."""


class Series(NamedTuple):
    """One row of numbers: messages of one kind, of one pipeline, from one start of the engine."""

    pipeline: str
    boot: str
    kind: NumberedKind


@dataclass(slots=True)
class _Track:
    highest: int
    told: int
    open: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def safe(self) -> int:
        """Every number up to this one is settled."""
        return next(iter(self.open)) - 1 if self.open else self.highest


class Intake:
    """Takes each number once and counts those that were left out.

    A series that nobody spoke of starts at 1, except in the boot that was running when this publisher started: there
    `hello` says what a publisher before this one had safe.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._tracks: dict[Series, _Track] = {}

    def hello(self, hello: EngineHello) -> None:
        """Where the numbers of this boot start for a publisher that has taken none of them yet."""
        numbers: tuple[tuple[NumberedKind, dict[str, int]], ...] = (
            ("result", dict(hello.results)),
            ("event", dict(hello.events)),
        )
        for kind, safe in numbers:
            for pipeline, seq in safe.items():
                if (series := Series(pipeline, hello.boot, kind)) not in self._tracks:
                    self._begin(series, seq)

    def take(self, series: Series, seq: int) -> bool:
        """False for what was taken before; what is left out between is counted in ``missed``."""
        track = self._tracks.get(series)
        if track is None:
            track = self._begin(series, 0)
        if seq <= track.highest:
            return False
        self.missed = min(self.missed + seq - track.highest - 1, MOST_MISSED)
        track.highest = seq
        track.open[seq] = None
        return True

    def settle(self, series: Series, seq: int) -> None:
        """The message is safe, or lost and counted: the engine need not keep it."""
        if track := self._tracks.get(series):
            track.open.pop(seq, None)

    def safe(self) -> list[Acked]:
        """What has become safe and was not `told` yet."""
        return [
            Acked(series.pipeline, series.boot, series.kind, track.safe)
            for series, track in self._tracks.items()
            if track.safe > track.told
        ]

    def told(self, acked: Acked) -> None:
        """The engine has been told."""
        self._tracks[Series(acked.pipeline, acked.boot, acked.kind)].told = acked.seq

    def _begin(self, newer: Series, safe: int) -> _Track:
        """A new boot of a pipeline: earlier ones say nothing more. Names without end come from no honest engine."""
        full = len(self._tracks) >= MOST_SERIES
        for series, track in list(self._tracks.items()):
            if (full or (series.pipeline, series.kind) == (newer.pipeline, newer.kind)) and not track.open:
                del self._tracks[series]
        track = self._tracks[newer] = _Track(safe, safe)
        return track
