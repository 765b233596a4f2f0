"""Sends outcomes out of the engine: numbers them and keeps them until the publisher has stored them; never blocks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from edge_infer.contract.messages import Event, Result, State
from edge_infer.ipc.activity_table import ActivityTable
from edge_infer.ipc.channel import Channel, pack
from edge_infer.ipc.messages import (
    MAX_RECENT_EVENTS,
    Acked,
    EngineHello,
    NumberedKind,
    RecentEvent,
    StateSnapshot,
    Tally,
    handover,
)
from edge_infer.readers.sources.faults import Faults

log = logging.getLogger(__name__)

KEEP: Final = 1 << 20
"""Bytes of numbered messages that are kept for a publisher that may need them again."""
CROWDED: Final = KEEP // 2
"""Kept bytes from which on a pipeline waits, if its source waits for it."""
ROOM_WITHIN: Final = 2.0
"""Seconds that a pipeline waits for room; then it goes on without, until there was room again."""
TICK: Final = 0.02


Series: TypeAlias = tuple[str, NumberedKind]
"""A pipeline and a counted kind: results and events have separate numbers."""


@dataclass(frozen=True, slots=True)
class _Kept:
    series: Series
    seq: int
    data: bytes


class Outward(Protocol):
    """Where a pipeline sends its messages: `ResultSender`, or a class that prints them."""

    boot: str

    def hand_over(self, pipeline: str, make: Callable[[int], Result], at: float | None = None) -> int:
        """Send the result that ``make`` builds from its number, captured at the uptime ``at``; return the number."""

    def happened(self, pipeline: str, make: Callable[[int], Event], at: float | None = None) -> int:
        """Send an event in the same way."""

    def state(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Send the newest state of a pipeline."""

    def new_object(self, pipeline: str) -> int:
        """Return an id that no object of this pipeline has had."""

    def numbered(self, pipeline: str) -> int:
        """Return the highest result number of this pipeline."""

    def given(self) -> int:
        """Return how many results and events there have been."""

    def written(self) -> int:
        """Return how many of them, from the first, do not need this process any more."""

    def await_room(self, stop: threading.Event) -> None:
        """Wait for a while, at most until ``stop``, if the receiver is behind."""


class ResultSender:
    """The engine's end of the results channel; any thread may call it.

    Numbers grow by one with every result, every event and every object of a pipeline, across reloads. If the publisher
    is slow or dead, the outlet drops only the oldest kept messages, once they exceed `KEEP`; the gap in the numbers
    shows the loss.
    """

    def __init__(self, channel: Channel, boot: str, lights: ActivityTable | None = None) -> None:
        """``lights`` make the numbers available to the supervisor when this process is killed."""
        self.boot = boot
        self._lights = lights
        self._channel = channel
        self._lock = threading.Lock()
        self._numbers: dict[Series, int] = {}
        self._given = 0  # the sum of them
        self._acked: dict[Series, Acked] = {}
        self._objects: dict[str, int] = {}
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._given_up = Faults()
        self._sent = 0  # how many of the kept, from the oldest, have been written to the channel
        self._greet = self._greeted = False
        self._waits = True
        self._states: dict[str, StateSnapshot] = {}
        self._unsaid: dict[str, StateSnapshot] = {}
        self._recent: deque[RecentEvent] = deque(maxlen=MAX_RECENT_EVENTS)

    def hand_over(self, pipeline: str, make: Callable[[int], Result], at: float | None = None) -> int:
        """Number a result, which ``make`` builds from its number, and send it as soon as there is room.

        ``at`` is the uptime of its capture.
        """
        return self._number((pipeline, "result"), make, at)

    def happened(self, pipeline: str, make: Callable[[int], Event], at: float | None = None) -> int:
        """Number and send an event in the same way."""
        return self._number((pipeline, "event"), make, at)

    def new_object(self, pipeline: str) -> int:
        """Return an id that no object of this pipeline has had in this engine."""
        with self._lock:
            self._objects[pipeline] = self._objects.get(pipeline, 0) + 1
            return self._objects[pipeline]

    def _number(self, series: Series, make: Callable[[int], Result] | Callable[[int], Event], at: float | None) -> int:
        with self._lock:
            seq = self._numbers.get(series, 0) + 1
            message = make(seq)
            data = pack(handover(series[0], message, at))
            if isinstance(message, Event):
                self._recent.append(RecentEvent(series[0], message))
            self._numbers[series] = seq
            self._given += 1
            if self._lights is not None:
                self._lights.numbered(*series, seq)
            self._kept.append(_Kept(series, seq, data))
            self._kept_bytes += len(data)
            self._trim()
            self._flush()
            return seq

    def state(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Send the newest state of a pipeline, with its uptime; it replaces an older one that has not been sent yet."""
        with self._lock:
            self._states[pipeline] = self._unsaid[pipeline] = StateSnapshot(pipeline, state, at)
            self._flush()

    def await_room(self, stop: threading.Event) -> None:
        """Wait until the publisher has taken enough, so that a quick source loses nothing; not long, and not twice."""
        until = time.monotonic() + ROOM_WITHIN
        while (crowded := self._kept_bytes > CROWDED) and self._waits and not stop.wait(TICK):
            self._waits = time.monotonic() < until
        if not crowded:
            self._waits = True

    def forget(self, pipeline: str) -> None:
        """Forget the state of a removed pipeline, so that it is not sent again."""
        with self._lock:
            self._states.pop(pipeline, None)
            self._unsaid.pop(pipeline, None)

    def again(self) -> None:
        """Send every kept message and every state again, to a new publisher."""
        with self._lock:
            self._sent = 0
            self._greet = True
            self._unsaid = dict(self._states)
            self._flush()

    def acked(self, acked: Acked) -> None:
        """Process an acknowledgement: the publisher has stored every message of this series up to a number."""
        series: Series = (acked.pipeline, acked.kind)
        if acked.boot != self.boot or acked.seq > self._numbers.get(series, 0):
            return
        with self._lock:
            if acked.seq > self._safe(series):
                self._acked[series] = acked
            while self._kept and self._kept[0].seq <= self._safe(self._kept[0].series):
                self._drop_oldest()

    def flush(self) -> bool:
        """Send as much as there is room for; return whether nothing is left."""
        with self._lock:
            return self._flush()

    @property
    def crowded(self) -> bool:
        """Whether the publisher is behind: acknowledgements should be read soon."""
        return self._kept_bytes > CROWDED // 4

    @property
    def kept(self) -> int:
        """Number of messages that the publisher has not acknowledged yet."""
        return len(self._kept)

    def numbered(self, pipeline: str) -> int:
        """Return the highest result number of this pipeline."""
        return self._numbers.get((pipeline, "result"), 0)

    def given(self) -> int:
        """Return how many results and events there have been."""
        return self._given

    def written(self) -> int:
        """Return how many of them, from the first, do not need this process any more: they are in the channel."""
        with self._lock:
            return self._given - (len(self._kept) - self._sent)

    def recent_events(self) -> tuple[RecentEvent, ...]:
        """Return the last events of all pipelines, the oldest first."""
        with self._lock:
            return tuple(self._recent)

    def tallies(self) -> tuple[Tally, ...]:
        """Return the number reached in every series."""
        with self._lock:
            return self._tallies()

    def _tallies(self) -> tuple[Tally, ...]:
        nothing = Acked("", self.boot, "result", 0)
        found = ((series, given, self._acked.get(series, nothing)) for series, given in self._numbers.items())
        return tuple(Tally(*series, given, acked.seq, acked.lost) for series, given, acked in found)

    def _safe(self, series: Series) -> int:
        return self._acked[series].seq if series in self._acked else 0

    def _trim(self) -> None:
        """Drop messages above `KEEP`: those already in the channel still arrive, the others are lost."""
        lost = 0
        while self._kept_bytes > KEEP:
            lost += self._sent == 0
            self._drop_oldest()
        if lost:
            self._given_up.note("results and events that the publisher does not take as fast as they come", lost)

    def _drop_oldest(self) -> None:
        self._kept_bytes -= len(self._kept.popleft().data)
        self._sent = max(0, self._sent - 1)

    def _flush(self) -> bool:
        if self._greet:
            if not self._channel.send(EngineHello(self.boot, self._tallies(), self._greeted)):
                return False
            self._greet, self._greeted = False, True
        while self._sent < len(self._kept):
            if not self._channel.send_packed(self._kept[self._sent].data):
                return False
            self._sent += 1
        for pipeline, update in list(self._unsaid.items()):
            if not self._channel.send(update):
                return False
            del self._unsaid[pipeline]
        return self._channel.flush()
