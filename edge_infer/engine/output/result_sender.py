"""Sends the messages of the engine to the publisher.

The sender numbers the messages and keeps them until the publisher has stored them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from edge_infer.contract.messages import Event, Result, State
from edge_infer.ipc.activity_table import ActivityTable
from edge_infer.ipc.channel import Channel, pack_checked
from edge_infer.ipc.messages import (
    MAX_RECENT_EVENTS,
    MAX_TALLIES,
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
"""Bytes of numbered messages that are kept, in case a restarted publisher needs them again."""
CROWDED: Final = KEEP // 2
"""Kept bytes above which pipelines with a lossless source wait. Each pipeline may keep an equal share of these
bytes."""
ROOM_WITHIN: Final = 2.0
"""Seconds without an acknowledgement after which a pipeline stops waiting. The pipeline does not wait again before its
kept messages are within its share of `CROWDED`."""
TICK: Final = 0.02


Series: TypeAlias = tuple[str, NumberedKind]
"""A pipeline and a kind of message: results and events have separate sequence numbers."""


class _Kept(NamedTuple):
    series: Series
    seq: int
    data: bytes


class Outward(Protocol):
    """Interface for sending a pipeline's messages: `ResultSender`, or a class that prints the messages."""

    boot: str

    def hand_over(self, pipeline: str, make: Callable[[int], Result], at: float | None = None) -> int:
        """Send the result that ``make`` builds from its sequence number; ``at`` is the uptime of its capture.

        Return the sequence number.
        """

    def happened(self, pipeline: str, make: Callable[[int], Event], at: float | None = None) -> int:
        """Send an event in the same way as `hand_over` sends a result."""

    def state(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Send the newest state of a pipeline."""

    def new_object(self, pipeline: str) -> int:
        """Return an id that no other object of this pipeline has had."""

    def numbered(self, pipeline: str) -> int:
        """Return the highest result number of this pipeline."""

    def given(self) -> int:
        """Return the number of results and events so far."""

    def written(self) -> int:
        """Return the number of results and events, counted from the first, that outlive this process."""

    def await_room(self, pipeline: str, stop: threading.Event) -> None:
        """Wait while the receiver is behind with the messages of this pipeline, until ``stop`` is set at the latest."""


class ResultSender:
    """The engine's end of the results channel; any thread may call it.

    The sequence numbers of a pipeline's results and events, and the ids of its objects, each grow by one, also across
    reloads. If the publisher is slow or dead and the kept messages exceed `KEEP`, the sender drops the oldest messages
    of the pipeline that has most of them. Gaps in the sequence numbers show the loss. Internally a running number
    identifies each kept message, across all pipelines.
    """

    def __init__(self, channel: Channel, boot: str, lights: ActivityTable | None = None) -> None:
        """The sender also writes each sequence number to ``lights`` (shared memory).

        From there the supervisor can read the numbers even after the engine was killed.
        """
        self.boot = boot
        self._lights = lights
        self._channel = channel
        self._lock = threading.Lock()
        self._numbers: dict[Series, int] = {}
        self._given = 0  # sum of all sequence numbers
        self._acked: dict[Series, Acked] = {}
        self._objects: dict[str, int] = {}
        self._kept: dict[int, _Kept] = {}
        self._kept_bytes: Counter[str] = Counter()  # for each pipeline
        self._all_kept_bytes = 0  # their sum
        self._by_pipeline: dict[str, deque[int]] = {}
        self._unsent: deque[int] = deque()  # messages not yet written to the channel
        self._given_up = Faults()
        self._greet = self._greeted = False
        self._taken = 0  # number of kept messages that the publisher has acknowledged
        self._impatient: set[str] = set()  # pipelines that have stopped waiting, because nothing was acknowledged
        self._removed: set[str] = set()
        self._states: dict[str, bytes] = {}
        self._unsaid: dict[str, bytes] = {}
        self._recent: deque[RecentEvent] = deque(maxlen=MAX_RECENT_EVENTS)

    def hand_over(self, pipeline: str, make: Callable[[int], Result], at: float | None = None) -> int:
        """Let ``make`` build the result with the next sequence number; send it once the channel has space.

        ``at`` is the uptime of its capture. Raises `WireError` if the result does not fit the contract. The next result
        then gets the sequence number, and the pipeline is at fault.
        """
        return self._number((pipeline, "result"), make, at)

    def happened(self, pipeline: str, make: Callable[[int], Event], at: float | None = None) -> int:
        """Number and send an event in the same way as `hand_over` does a result."""
        return self._number((pipeline, "event"), make, at)

    def new_object(self, pipeline: str) -> int:
        """Return an id that no other object of this pipeline has had in this engine."""
        with self._lock:
            self._objects[pipeline] = self._objects.get(pipeline, 0) + 1
            return self._objects[pipeline]

    def _number(self, series: Series, make: Callable[[int], Result] | Callable[[int], Event], at: float | None) -> int:
        with self._lock:
            seq = self._numbers.get(series, 0) + 1
            message = make(seq)
            data = pack_checked(handover(series[0], message, at))
            self._removed.discard(series[0])
            if isinstance(message, Event):
                self._recent.append(RecentEvent(series[0], message))
            self._numbers[series] = seq
            if self._lights is not None:
                self._lights.numbered(*series, seq)
            self._keep(_Kept(series, seq, data))
            self._flush()
            return seq

    def state(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Send the newest state of a pipeline, with its uptime, in place of an older state that was not sent yet.

        Raises `WireError` as `hand_over` does.
        """
        data = pack_checked(StateSnapshot(pipeline, state, at))
        with self._lock:
            self._states[pipeline] = self._unsaid[pipeline] = data
            self._flush()

    def await_room(self, pipeline: str, stop: threading.Event) -> None:
        """Wait until the publisher has taken enough messages of a pipeline, so that a fast source loses nothing.

        The wait ends when the publisher acknowledges nothing for `ROOM_WITHIN` seconds. The pipeline then does not wait
        again until its kept messages are within its share of `CROWDED`.
        """
        if not self._has_to_wait(pipeline):  # usual, after every frame
            if pipeline in self._impatient:
                self._impatient.discard(pipeline)
            return
        taken, until = self._taken, time.monotonic() + ROOM_WITHIN
        while self._has_to_wait(pipeline) and pipeline not in self._impatient and not stop.wait(TICK):
            if self._taken != taken:
                taken, until = self._taken, time.monotonic() + ROOM_WITHIN
            elif time.monotonic() >= until:
                self._impatient.add(pipeline)
        if not self._has_to_wait(pipeline):
            self._impatient.discard(pipeline)

    def _has_to_wait(self, pipeline: str) -> bool:
        kept = self._kept_bytes[pipeline]
        return kept > 0 and kept > CROWDED // max(1, len(self._by_pipeline))

    def forget(self, pipeline: str) -> None:
        """Forget the state of a removed pipeline, so that it is not sent again.

        The sequence numbers of the pipeline stay: they continue if a later plan has the pipeline again.
        """
        with self._lock:
            self._removed.add(pipeline)
            self._states.pop(pipeline, None)
            self._unsaid.pop(pipeline, None)

    def again(self) -> None:
        """Send all kept messages and all states again, because a new publisher has started."""
        with self._lock:
            self._unsent = deque(self._kept)
            self._greet = True
            self._unsaid = dict(self._states)
            self._flush()

    def acked(self, acked: Acked) -> None:
        """Process an acknowledgement: the publisher has stored all messages of this series up to a sequence number."""
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
        """Send as many messages as the channel has space for; return whether none is left."""
        with self._lock:
            return self._flush()

    @property
    def crowded(self) -> bool:
        """Whether the publisher is behind, so that its acknowledgements should be read soon."""
        return self._all_kept_bytes > CROWDED // 4

    @property
    def kept(self) -> int:
        """Number of messages that the publisher has not acknowledged yet."""
        return len(self._kept)

    def numbered(self, pipeline: str) -> int:
        """Return the highest result number of this pipeline."""
        return self._numbers.get((pipeline, "result"), 0)

    def given(self) -> int:
        """Return the number of results and events so far."""
        return self._given

    def written(self) -> int:
        """Return the number of results and events, counted from the first, that have left this process."""
        given = self._given  # before the question: a message that another thread adds meanwhile does not count
        if not self._unsent:
            return given
        with self._lock:
            return self._given if (first := self._first_unsent()) is None else first - 1

    def recent_events(self) -> tuple[RecentEvent, ...]:
        """Return the last events of all pipelines, oldest first."""
        with self._lock:
            return tuple(self._recent)

    def tallies(self) -> tuple[Tally, ...]:
        """Return the last number of every series; if they are too many, without those of some removed pipelines."""
        with self._lock:
            return self._tallies()

    def _tallies(self) -> tuple[Tally, ...]:
        nothing = Acked("", self.boot, "result", 0)
        present = [series for series in self._numbers if series[0] not in self._removed]
        removed = [series for series in self._numbers if series[0] in self._removed]
        # Those whose messages are all safe come last. A new publisher may not have them in its account on the disk.
        removed.sort(key=lambda series: self._numbers[series] <= self._safe(series))
        found = [(series, self._acked.get(series, nothing)) for series in (*present, *removed)[:MAX_TALLIES]]
        return tuple(Tally(*series, self._numbers[series], acked.seq, acked.lost) for series, acked in found)

    def _safe(self, series: Series) -> int:
        return self._acked[series].seq if series in self._acked else 0

    def _keep(self, message: _Kept) -> None:
        """Keep a message.

        Above `KEEP`, drop other messages. Dropped messages that are already in the channel still arrive; all others are
        lost.
        """
        number, pipeline = self._given + 1, message.series[0]
        self._kept[number] = message
        self._by_pipeline.setdefault(pipeline, deque()).append(number)
        size = len(message.data)
        self._kept_bytes[pipeline] += size
        self._all_kept_bytes += size
        self._unsent.append(number)
        self._given = number  # only now, so that `written` needs no lock
        lost = 0
        while self._all_kept_bytes > KEEP:
            ((most, _),) = self._kept_bytes.most_common(1)
            oldest = self._by_pipeline[most][0]
            lost += oldest >= (self._first_unsent() or math.inf)
            self._drop(oldest)
        if lost:
            self._given_up.note("results and events dropped because the publisher is too slow", lost)

    def _drop(self, number: int) -> None:
        """Drop a message, which is the oldest one of its pipeline."""
        message = self._kept.pop(number)
        pipeline = message.series[0]
        numbers = self._by_pipeline[pipeline]
        numbers.popleft()
        size = len(message.data)
        self._kept_bytes[pipeline] -= size
        self._all_kept_bytes -= size
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
            if not self._channel.send_packed(update):
                return False
            del self._unsaid[pipeline]
        return self._channel.flush()
