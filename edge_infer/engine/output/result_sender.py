"""Sends outcomes out of the engine: numbers them and keeps them until the publisher has stored them; never blocks."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
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
"""Kept bytes from which on pipelines wait whose sources wait for them. Each may keep its share of these."""
ROOM_WITHIN: Final = 2.0
"""Seconds without an acknowledgement after which a pipeline waits no longer, until there was room again."""
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

    def await_room(self, pipeline: str, stop: threading.Event) -> None:
        """Wait while the receiver is behind with this pipeline, at most until ``stop``."""


class ResultSender:
    """The engine's end of the results channel; any thread may call it.

    Numbers grow by one with every result, every event and every object of a pipeline, across reloads. If the publisher
    is slow or dead and the kept messages exceed `KEEP`, the oldest ones of the pipeline that keeps most are dropped.
    The gap in the numbers shows the loss. Messages are kept by a running number, which counts those of all pipelines.
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
        self._kept: dict[int, _Kept] = {}
        self._kept_bytes: Counter[str] = Counter()  # of each pipeline
        self._by_pipeline: dict[str, deque[int]] = {}
        self._unsent: deque[int] = deque()  # not written to the channel yet
        self._given_up = Faults()
        self._greet = self._greeted = False
        self._taken = 0  # how many kept messages the publisher has acknowledged
        self._impatient: set[str] = set()  # pipelines that do not wait, since nothing was acknowledged
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
            self._keep(_Kept(series, seq, data))
            self._flush()
            return seq

    def state(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Send the newest state of a pipeline, with its uptime; it replaces an older one that has not been sent yet."""
        with self._lock:
            self._states[pipeline] = self._unsaid[pipeline] = StateSnapshot(pipeline, state, at)
            self._flush()

    def await_room(self, pipeline: str, stop: threading.Event) -> None:
        """Wait until the publisher has taken enough of a pipeline, so that a quick source loses nothing.

        It gives up when the publisher takes nothing for `ROOM_WITHIN` seconds, and does not wait again before there was
        room.
        """
        taken, until = self._taken, time.monotonic() + ROOM_WITHIN
        while self._has_to_wait(pipeline) and pipeline not in self._impatient and not stop.wait(TICK):
            if self._taken != taken:
                taken, until = self._taken, time.monotonic() + ROOM_WITHIN
            elif time.monotonic() >= until:
                self._impatient.add(pipeline)
        if not self._has_to_wait(pipeline):
            self._impatient.discard(pipeline)

    def _has_to_wait(self, pipeline: str) -> bool:
        return self._kept_bytes[pipeline] > CROWDED // max(1, len(self._by_pipeline))

    def forget(self, pipeline: str) -> None:
        """Forget the state of a removed pipeline, so that it is not sent again."""
        with self._lock:
            self._states.pop(pipeline, None)
            self._unsaid.pop(pipeline, None)

    def again(self) -> None:
        """Send every kept message and every state again, to a new publisher."""
        with self._lock:
            self._unsent = deque(self._kept)
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
            for number in list(self._by_pipeline.get(acked.pipeline, ())):
                if self._kept[number].seq > self._safe(self._kept[number].series):
                    break
                self._drop(number)
                self._taken += 1

    def flush(self) -> bool:
        """Send as much as there is room for; return whether nothing is left."""
        with self._lock:
            return self._flush()

    @property
    def crowded(self) -> bool:
        """Whether the publisher is behind: acknowledgements should be read soon."""
        return self._kept_bytes.total() > CROWDED // 4

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
            return self._given if (first := self._first_unsent()) is None else first - 1

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

    def _keep(self, message: _Kept) -> None:
        """Keep a message, and drop others above `KEEP`: those already in the channel still arrive, others are lost."""
        number, pipeline = self._given, message.series[0]
        self._kept[number] = message
        self._by_pipeline.setdefault(pipeline, deque()).append(number)
        self._kept_bytes[pipeline] += len(message.data)
        self._unsent.append(number)
        lost = 0
        while self._kept_bytes.total() > KEEP:
            ((most, _),) = self._kept_bytes.most_common(1)
            oldest = self._by_pipeline[most][0]
            lost += oldest >= (self._first_unsent() or math.inf)
            self._drop(oldest)
        if lost:
            self._given_up.note("results and events that the publisher does not take as fast as they come", lost)

    def _drop(self, number: int) -> None:
        """Drop a message that is the oldest of its pipeline."""
        message = self._kept.pop(number)
        pipeline = message.series[0]
        numbers = self._by_pipeline[pipeline]
        numbers.popleft()
        self._kept_bytes[pipeline] -= len(message.data)
        if not numbers:
            del self._by_pipeline[pipeline], self._kept_bytes[pipeline]

    def _first_unsent(self) -> int | None:
        while self._unsent and self._unsent[0] not in self._kept:
            self._unsent.popleft()
        return self._unsent[0] if self._unsent else None

    def _flush(self) -> bool:
        if self._greet:
            if not self._channel.send(EngineHello(self.boot, self._tallies(), self._greeted)):
                return False
            self._greet, self._greeted = False, True
        while (number := self._first_unsent()) is not None:
            if not self._channel.send_packed(self._kept[number].data):
                return False
            self._unsent.popleft()
        for pipeline, update in list(self._unsaid.items()):
            if not self._channel.send(update):
                return False
            del self._unsaid[pipeline]
        return self._channel.flush()
