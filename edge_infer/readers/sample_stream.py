"""Reader's end of a channel for signals and text: every block and line goes to the engine, in order."""

from __future__ import annotations

import base64
import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from edge_infer.errors import WireError, shortened
from edge_infer.frames.frame import Signal
from edge_infer.ipc.channel import Channel, pack
from edge_infer.ipc.messages import LineReady, ReaderHello, ReaderTrouble, SamplesReady, StreamCounts
from edge_infer.platform.readiness import readable
from edge_infer.readers.sources import Block, Words
from edge_infer.readers.sources.faults import Faults

MAX_AT_ONCE: Final = 100
"""Limit of records from the engine that are handled between two readings."""
LONGEST_LINE: Final = 65536
"""Limit of a line in characters; longer lines are cut."""
ROOM_SECONDS: Final = 0.25
"""Default wait for a full channel, in seconds, for sources that set none: a device's small buffer holds the data of
this time."""
TICK: Final = 0.1


def never() -> bool:
    """Return False: the default ``stopping`` callback."""
    return False


class StreamWriter:
    """Numbers the readings and sends them to the engine.

    With ``holds_writer`` it waits as long as the channel is full, unless ``stopping`` returns true. The source is not
    read meanwhile, so a program that writes into a pipe waits too. Otherwise a reading is dropped and logged if the
    channel stays full for ``room_seconds``. It then shows as a missing number.

    The reading thread writes, and another thread may call `tell_counts`; a lock keeps their records apart.
    """

    def __init__(self, channel: Channel, *, holds_writer: bool = False, stopping: Callable[[], bool] = never) -> None:
        self.frames = 0
        self.greetings = 0
        self.looks: float | None = None
        """Always None: signals and text have no rate limit."""
        self.room_seconds = ROOM_SECONDS
        self._channel = channel
        self._holds_writer = holds_writer
        self._stopping = stopping
        self._kept_up = True
        self._lost = Faults()
        self._left_out = Faults()
        self._told = StreamCounts()
        self._lock = threading.RLock()
        self._before: Signal | None = None

    @property
    def faults(self) -> int:
        """Return how many readings the source has dropped, over all its openings."""
        return self._left_out.count

    def follow(self, faults: Faults | None) -> None:
        """Follow the counter of a newly opened source; it continues from the count of the previous opening."""
        if faults is not None:
            with self._lock:
                faults.resume(self._left_out)
                self._left_out = faults

    def poll(self) -> None:
        """Handle the records from the engine; raises `ChannelClosedError`."""
        with self._lock:
            for _ in range(MAX_AT_ONCE):
                if (record := self._channel.receive()) is None:
                    return
                if isinstance(record, ReaderHello):
                    self.greetings += 1
                    self._told = StreamCounts()  # a new engine has no counts yet

    def tell_counts(self) -> None:
        """Send changed counts without a reading; callable from any thread, and it never blocks.

        It is needed because the source may be inside `read` for hours after the last dropped reading.
        """
        if not self._lock.acquire(blocking=False):
            return  # the reading under way carries them
        try:
            with contextlib.suppress(WireError):  # the reading thread gets the same error and handles it
                if self._channel.fd >= 0:
                    self.poll()
                    counts = StreamCounts(self.frames, self.faults)
                    if counts != self._told and self._channel.send(counts):
                        self._told = counts
        finally:
            self._lock.release()

    def write(self, reading: Block | Words) -> bool:
        """Send one reading to the engine; return False when it was dropped because the engine does not keep up."""
        with self._lock:
            self.frames += 1
            self.poll()
            return self._send(self._record(reading))

    def _record(self, reading: Block | Words) -> LineReady | SamplesReady:
        if isinstance(reading, Words):
            text = reading.text[:LONGEST_LINE]
            return LineReady(self.frames, reading.wall, reading.monotonic, text, self.faults)
        values = np.ascontiguousarray(reading.values, "<f4")
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

    def _send(self, record: LineReady | SamplesReady) -> bool:
        data = pack(record)
        until = math.inf if self._holds_writer else time.monotonic() + (self.room_seconds if self._kept_up else 0.0)
        while not self._channel.send_packed(data):
            if not self._wait_for_room(until):
                self._lost.note("readings that the engine had no room for")
                self._kept_up = False
                return False
        while self._channel.unsent and self._wait_for_room(until):  # the rest of a long record
            self._channel.flush()
        self._kept_up = True
        self._told = StreamCounts(record.number, record.faults)
        return True

    def _wait_for_room(self, until: float) -> bool:
        """Wait for space in the channel; return False when ``until`` has passed or the reader is stopping."""
        left = until - time.monotonic()
        if left <= 0 or self._stopping():
            return False
        readable((), [self._channel.fd], min(left, TICK))
        self.poll()
        return True

    def trouble(self, text: str, *, ended: bool = False) -> bool:
        """Send the engine the reason for missing readings."""
        with self._lock:
            return self._channel.send(ReaderTrouble(shortened(text), ended))

    def close(self) -> None:
        """Close the channel; may be called twice."""
        with self._lock:
            self._channel.close()
