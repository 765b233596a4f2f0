"""The reader's end of a channel for samples or text: every block and line goes to the engine, in order."""

from __future__ import annotations

import base64
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_infer.errors import SourceError, WireError, shortened
from edge_infer.frames.frame import Signal
from edge_infer.ipc.channel import Channel, pack
from edge_infer.ipc.messages import (
    MAX_CHANNELS,
    LineReady,
    ReaderHello,
    ReaderTrouble,
    ReadingsDone,
    SamplesReady,
    StreamBegin,
    StreamCounts,
)
from edge_infer.platform.event_loop import readable
from edge_infer.readers.sources import Block, Words
from edge_infer.readers.sources.faults import Faults

log = logging.getLogger(__name__)

TO_STREAM_READER: Final = (ReaderHello, ReadingsDone)
"""Record types that the reader's end of a channel for samples or text accepts."""
KEEP: Final = 1 << 20
"""Maximum bytes of readings that are kept, so that they can be sent again to a new engine."""
SUSPECTS: Final = 24
"""Number of the oldest readings that may have crashed the engine: those in its queue, in the model, and finished but
not yet acknowledged."""
MAX_AT_ONCE: Final = 100
"""Maximum number of records from the engine that are handled between two readings."""
LONGEST_LINE: Final = 65536
"""Maximum length of a line in characters; longer lines are cut."""
ROOM_SECONDS: Final = 0.25
"""Default seconds to wait while the channel is full, for sources that define no other time. Even the small buffer of a
device holds the data of this time."""
TICK: Final = 0.1


@dataclass(slots=True)
class _KeptReading:
    counts: StreamCounts
    data: bytes
    engines: int = 0
    """Number of engines to which this reading has been sent."""


class StreamWriter:
    """Numbers the readings and sends them to the engine; unfinished readings are sent again to the next engine.

    With ``holds_writer``, it waits while the channel is full, at most until the deadline that `hurry` sets. Meanwhile
    the source is not read, so a program that writes into a pipe waits as well. Without ``holds_writer``, a reading is
    dropped and logged if the channel stays full for ``room_seconds``. The engine then sees a gap in the numbers.

    If two engines in a row end without finishing any reading, one of the oldest readings may be the cause, so the
    oldest are dropped.

    The reading thread writes, and another thread may call `tell_counts`; a lock keeps their records apart.
    """

    def __init__(self, channel: Channel, *, holds_writer: bool = False) -> None:
        self.frames = 0
        self.greetings = 0
        self.looks: float | None = None
        """Always None, because samples and text have no rate limit."""
        self.room_seconds = ROOM_SECONDS
        self._channel = channel
        self._holds_writer = holds_writer
        self._deadline = math.inf
        self._kept_up = True
        self._lost = Faults()
        self._left_out = Faults()
        self._told = StreamCounts()
        self._kept: deque[_KeptReading] = deque()
        self._kept_bytes = 0
        self._sent = 0  # number of kept readings, from the oldest, that have been written to the channel
        self._settled = 0  # the last reading that an engine has finished
        self._forgotten = 0  # the last reading that has no kept copy
        self._greet = False
        self._fruitless = False  # true until the current engine has finished a reading
        self._lock = threading.RLock()
        self._before: Signal | None = None
        self._away: Callable[[], str] | None = None
        self._told_away: tuple[int, str] | None = None  # number of the engine, and the text

    @property
    def faults(self) -> int:
        """Return the number of readings that the source has dropped, over all its openings."""
        return self._left_out.count

    def follow(self, faults: Faults | None) -> None:
        """Use the counter of a newly opened source, which continues the count of the previous opening."""
        if faults is not None:
            with self._lock:
                faults.resume(self._left_out)
                self._left_out = faults

    def attend(self, away: Callable[[], str] | None) -> None:
        """Report to each engine that the source is open and each change of ``away()``; None: the source is closed."""
        with self._lock:
            self._away, self._told_away = away, None

    def poll(self) -> None:
        """Handle the records from the engine; raises `ChannelClosedError`."""
        with self._lock:
            for _ in range(MAX_AT_ONCE):
                if (record := self._channel.receive()) is None:
                    return
                if isinstance(record, ReaderHello):
                    self._begin_again()
                elif record.number <= self.frames:  # a higher number is meant for an earlier reader
                    self._finished(record.number)

    def _begin_again(self) -> None:
        """Prepare to send all unfinished readings to a new engine."""
        self.greetings += 1
        self._told = StreamCounts()  # a new engine has no counts yet
        if (gone := self._forgotten - self._settled) > 0:
            self._lost.note("unfinished readings when the engine ended, too many to keep", gone)
        self._forgotten = 0
        suspects = SUSPECTS if self._fruitless else 0
        dropped = 0
        while dropped < suspects and self._kept and self._kept[0].engines > 1:
            self._forget_oldest()
            dropped += 1
        if dropped:
            self._lost.note("readings during which the engine has ended twice", dropped)
        self._greet, self._sent = True, 0

    def _finished(self, number: int) -> None:
        self._fruitless = False
        self._settled = max(self._settled, number)
        while self._kept and self._sent and self._kept[0].counts.number <= number:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._kept_bytes -= len(self._kept.popleft().data)
        self._sent = max(0, self._sent - 1)

    def tell_counts(self) -> bool:
        """Send counts, the state of an open pipe, and the readings that a new engine needs, without a new reading.

        Return False if the caller must call again soon.

        This method never blocks and may be called from any thread. The reading thread may be inside `read` for hours.
        """
        if not self._lock.acquire(blocking=False):
            return True  # the reading in progress carries the counts
        try:
            with contextlib.suppress(WireError):  # the reading thread gets the same error and handles it
                if self._channel.fd >= 0:
                    self.poll()
                    counts = StreamCounts(self.frames, self.faults)
                    if not self._flush():
                        return False
                    if counts != self._told and self._channel.send(counts):
                        self._told = counts
                    return self._tell_away()
            return True
        finally:
            self._lock.release()

    def _tell_away(self) -> bool:
        """Report a change of the source's ``away``; return False if the channel has no space yet."""
        if self._away is None or (now := (self.greetings, shortened(self._away()))) == self._told_away:
            return True
        sent = self._channel.send(ReaderTrouble(now[1], open=True))
        self._told_away = now if sent else self._told_away
        return sent

    def write(self, reading: Block | Words) -> bool:
        """Send one reading to the engine; return False if it was dropped because the engine is too slow."""
        with self._lock:
            self.frames += 1
            self.poll()
            record = self._record(reading)
            self._kept.append(_KeptReading(StreamCounts(record.number, record.faults), pack(record)))
            self._kept_bytes += len(self._kept[-1].data)
            return self._send_newest()

    def _record(self, reading: Block | Words) -> LineReady | SamplesReady:
        if isinstance(reading, Words):
            text = reading.text[:LONGEST_LINE]
            return LineReady(self.frames, reading.wall, reading.monotonic, text, self.faults)
        values = np.ascontiguousarray(reading.values, "<f4")
        if values.shape[1] > MAX_CHANNELS:
            raise SourceError(f"a sample has {values.shape[1]} values; at most {MAX_CHANNELS} are possible")
        repeated = self._before is not None and np.array_equal(self._before, values)
        self._before = values.copy()
        return SamplesReady(
            number=self.frames,
            wall=reading.wall,
            monotonic=reading.monotonic,
            rate=reading.rate,
            channels=values.shape[1],
            values=base64.b64encode(values.tobytes()).decode("ascii"),
            gap=reading.gap,
            repeated=repeated,
            faults=self.faults,
        )

    def _send_newest(self) -> bool:
        until = math.inf if self._holds_writer else time.monotonic() + (self.room_seconds if self._kept_up else 0.0)
        while not self._flush() and self._wait_for_room(min(until, self._deadline)):
            pass
        self._kept_up = self._sent == len(self._kept)
        if not self._kept_up:
            self._kept_bytes -= len(self._kept.pop().data)
            self._lost.note("readings that did not fit into the engine's queue")
        self._trim()
        return self._kept_up

    def _flush(self) -> bool:
        """Send as many readings as the channel has space for; return whether all are sent."""
        if self._greet:
            if not self._channel.send(StreamBegin(self._settled)):
                return False
            self._greet, self._fruitless = False, True
        while self._sent < len(self._kept):
            kept = self._kept[self._sent]
            if not self._channel.send_packed(kept.data):
                return False
            kept.engines += self.greetings > 0
            self._sent += 1
            self._told = kept.counts
        return self._channel.flush()

    def _trim(self) -> None:
        """Discard the oldest copies while all exceed `KEEP` bytes, but never the newest. Unsent copies are lost."""
        lost = 0
        while self._kept_bytes > KEEP and len(self._kept) > 1:
            lost += not self._sent
            self._forgotten = self._kept[0].counts.number
            self._forget_oldest()
        if lost:
            self._lost.note("readings that did not fit into the engine's queue", lost)

    def _wait_for_room(self, until: float) -> bool:
        """Wait up to `TICK` for space in the channel; return False if ``until`` has passed."""
        left = until - time.monotonic()
        if left <= 0:
            return False
        readable((), [self._channel.fd], min(left, TICK))
        self.poll()
        return True

    def trouble(self, text: str, *, ended: bool = False) -> bool:
        """Send the engine the reason why there are no readings, after all readings.

        Return False if the channel has no space yet.
        """
        with self._lock:
            return self._flush() and self._channel.send(ReaderTrouble(shortened(text), ended))

    def hurry(self, deadline: float) -> None:
        """Set the deadline (monotonic clock) of all waits for the engine; may be called from a signal handler."""
        self._deadline = deadline

    def await_finished(self) -> None:
        """Wait until the engine has finished all readings or the deadline has passed; log how many may be lost."""
        with self._lock:
            while self._kept and (left := self._deadline - time.monotonic()) > 0:
                readable([self._channel.fd], timeout=left)
                self.poll()
            if unsent := len(self._kept) - self._sent:
                self._lost.note("readings not sent to the engine before the reader stopped", unsent)
            if self._sent:
                log.warning("the reader stopped before the engine confirmed %d readings; they may be lost", self._sent)

    def close(self) -> None:
        """Close the channel; may be called twice."""
        with self._lock:
            self._channel.close()
