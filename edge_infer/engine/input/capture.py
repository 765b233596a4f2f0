"""The origin of a feed's frames: the reader of a live source, or a file that the engine reads itself."""

from __future__ import annotations

import base64
import logging
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Protocol

import numpy as np

from edge_infer.engine.input.feed import TICK, Feed
from edge_infer.engine.input.frame_receiver import (
    DEAF,
    FAULTS_PER_SECOND,
    FROM_READER,
    MAX_FAULTS,
    MOST_QUEUED,
    FrameReceiver,
    check_moment,
)
from edge_infer.errors import EdgeInferError, SourceError, WireError, shortened
from edge_infer.frames.frame import Captured, Frame, Line, Samples
from edge_infer.frames.pixels import Orientation
from edge_infer.frames.timing import Pacer
from edge_infer.ipc.channel import MAX_STRETCH_BYTES, Channel, ChannelClosedError
from edge_infer.ipc.messages import FrameReady, LineReady, ReaderHello, ReaderTrouble, SamplesReady, StreamCounts
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.closing import Closing
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.readers.sources import (
    Block,
    Passed,
    Picture,
    Reading,
    Source,
    faults_of,
    first,
    interrupt,
    make_source,
    selects,
)

log = logging.getLogger(__name__)

RETRY_MOST: Final = 5.0
FROM_STREAM: Final = (SamplesReady, LineReady, StreamCounts, ReaderTrouble)
"""Records that the engine's end of a signal or text channel accepts."""


class FrameCapture(Protocol):
    """Where a feed's frames come from; ``run`` is the capture thread's function and ends soon after ``feed.stopping``.

    ``interrupt``, called by another thread, ends a wait that may be long. A capture *may* have ``turns(feed)``, which
    does the same step by step, so that a pipeline can capture in its own thread (`Feed.draw`). Each turn offers an item
    or yields False.
    """

    def run(self, feed: Feed) -> None: ...

    def interrupt(self) -> None: ...


class _NewChannels(Closing):
    """Channels to a reader that has started again, on their way to the capture thread."""

    def __init__(self) -> None:
        self._files: SimpleQueue[int] = SimpleQueue()

    def put(self, file: int) -> None:
        self._files.put(file)

    def take(self) -> int | None:
        """Return the newest one; None if there is none."""
        newest = None
        with suppress(Empty):
            while True:
                file = self._files.get_nowait()
                if newest is not None:
                    os.close(newest)
                newest = file
        return newest

    def close(self) -> None:
        """Close those that the thread has not taken; may be called twice."""
        if (file := self.take()) is not None:
            os.close(file)


class ReaderCapture:
    """Captures pictures of a live source from the shared memory of its reader; owns the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._new = _NewChannels()

    def interrupt(self) -> None:
        """Do nothing: this capture never waits long."""

    def renew(self, file: int) -> None:
        """Continue with another channel; a process that an earlier reader left behind may have the present one."""
        self._new.put(file)

    def run(self, feed: Feed) -> None:
        """Take the newest frame's record; the pixels stay in shared memory."""
        with self._new, FrameReceiver(self._channel) as receiver:
            while not feed.stopping:
                if (file := self._new.take()) is not None:
                    receiver.renew(Channel(file, FROM_READER, files=True))
                try:
                    receiver.want(feed.looks())
                    receiver.wait(TICK)
                    with feed.exclusively():
                        self._take(receiver, feed)
                except ChannelClosedError:
                    feed.trouble("its reader is gone")
                    feed.pause(TICK)

    def _take(self, receiver: FrameReceiver, feed: Feed) -> None:
        event = receiver.receive()
        if receiver.offence:
            feed.offence, receiver.offence = receiver.offence, ""
        if isinstance(event, FrameReady):
            feed.offer(event.number, receiver.lend, repeated=event.repeated, black=event.black)
        elif isinstance(event, ReaderTrouble):
            feed.trouble(event.text, ended=event.ended)


class StreamCapture:
    """Captures samples or lines of a live source from its reader; owns the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._new = _NewChannels()
        self._greeted = False
        self._number = 0
        self._last = 0
        self._faults = 0
        self._gap = False
        """Whether the readings missing before the next one have been counted already."""
        self._wrong = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)

    def interrupt(self) -> None:
        """Do nothing: this capture never waits long."""

    def renew(self, file: int) -> None:
        """Continue with another channel, as `ReaderCapture.renew` does."""
        self._new.put(file)

    def run(self, feed: Feed) -> None:
        """Take every record, in order."""
        try:
            while not feed.stopping:
                try:
                    self._greet()
                    self._take(feed)
                except ChannelClosedError:
                    feed.trouble("its reader is gone")
                    feed.pause(TICK)
        finally:
            self._channel.close()
            self._new.close()

    def _greet(self) -> None:
        if (file := self._new.take()) is not None:
            self._channel.close()
            self._channel, self._greeted = Channel(file, FROM_STREAM, MAX_STRETCH_BYTES), False
        if not self._greeted:
            self._channel.send(ReaderHello())
            self._greeted = True

    def _take(self, feed: Feed) -> None:
        try:
            event = self._channel.wait(TICK)
            if isinstance(event, (SamplesReady, LineReady)):
                check_moment(event.monotonic)
                gap = self._gap or event.number != self._last + 1  # also when a new reader counts from 1 again
                step = event.number - self._last if event.number > self._last else 1
                feed.missed(step - 1 if self._last else 0)
                self._number, self._last, self._gap = self._number + step, event.number, False
                self._left_out(feed, event.faults)
                item = _received(event, self._number, gap=gap)
                feed.offer(self._number, lambda: item, repeated=isinstance(event, SamplesReady) and event.repeated)
            elif isinstance(event, StreamCounts):
                step = event.number - self._last if event.number >= self._last else event.number
                feed.missed(step if self._last else 0)
                self._number, self._last, self._gap = self._number + step, event.number, self._gap or step > 0
                self._left_out(feed, event.faults)
            elif isinstance(event, ReaderTrouble):
                feed.trouble(event.text, ended=event.ended)
        except ChannelClosedError:
            raise
        except (WireError, ValueError) as error:
            feed.trouble(shortened(f"the reader said something impossible: {error}"))
            if not self._wrong.take():
                feed.offence = shortened(f"invalid records without end: {error}")
                self._sit_out(feed)

    def _left_out(self, feed: Feed, faults: int) -> None:
        """Count the readings that the reader has left out since its last report; a new reader counts from 0."""
        feed.left_out(faults - self._faults if faults >= self._faults else faults)
        self._faults = faults

    def _sit_out(self, feed: Feed) -> None:
        """Pause while the supervisor kills the reader, then discard the records left in the channel."""
        feed.pause(DEAF)
        for _ in range(MOST_QUEUED):
            try:
                if self._channel.receive() is None:
                    break
            except ChannelClosedError:
                raise
            except WireError:
                continue
        self._wrong = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._channel.send(ReaderHello())


class LocalCapture:
    """Captures frames of a file, a folder or a generator in the engine, at most ``fps`` per second.

    A lossless source waits until the next frame is due; another source drops the pictures in between. Samples and lines
    are never dropped.
    """

    def __init__(self, source: Source, orientation: Orientation, fps: float | None = None) -> None:
        self._source = source
        self._orientation = orientation
        self._lasting = bool(getattr(source, "lasting", False))
        self._pacer = Pacer(fps)
        self._number = 0

    def interrupt(self) -> None:
        """End a wait for the next picture."""
        interrupt(self._source)

    def run(self, feed: Feed) -> None:
        """Read until the feed is closed."""
        for _ in self.turns(feed):
            pass

    def turns(self, feed: Feed) -> Iterator[bool]:
        """Read once per turn and yield whether that succeeded; after a failure, pause and open the source again."""
        pause = 0.5
        while not feed.stopping:
            try:
                yield from self._read_all(feed)
            except SourceError as error:
                feed.trouble(str(error))
            except EdgeInferError as error:
                feed.trouble(str(error), ended=True)
                return
            except Exception as error:  # whatever a decoder or a plug-in raises, retry the source
                log.debug("source %s failed: unexpected exception", feed.plan.name, exc_info=True)
                feed.trouble(f"unexpected {type(error).__name__}: {error}")
            else:
                return
            yield False
            feed.pause(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, RETRY_MOST)

    def _read_all(self, feed: Feed) -> Iterator[bool]:
        fresh = True
        with self._source as source:
            feed.lossless = source.lossless
            chosen = not source.lossless and selects(source, self._pacer.due)
            while not feed.stopping:
                before = faults_of(source)
                if not source.lossless:
                    self._pacer.restrain(feed.looks())
                reading = source.read()
                feed.left_out(faults_of(source) - before)
                if reading is None:
                    if not feed.stopping:
                        feed.trouble("", ended=True)
                    break
                if not isinstance(reading, Passed) and (
                    chosen or self._wanted(reading, feed, lossless=source.lossless)
                ):
                    self._number += 1
                    item = self._captured(first(reading) if fresh else reading)
                    fresh = False
                    feed.offer(self._number, lambda item=item: item)  # type: ignore[misc]
                yield True

    def _wanted(self, reading: Reading, feed: Feed, *, lossless: bool) -> bool:
        if lossless:
            feed.pause(self._pacer.left(time.monotonic()))
        return self._pacer.due(time.monotonic()) or lossless or not isinstance(reading, Picture)

    def _captured(self, reading: Reading) -> Captured:
        check_moment(reading.monotonic)
        if isinstance(reading, Picture):
            kept = self._lasting and self._orientation == Orientation()
            pixels = reading.pixels if kept else self._orientation.copy(reading.pixels)
            return Frame(
                pixels, reading.color, reading.wall, reading.monotonic, self._number, position=reading.position
            )
        if isinstance(reading, Block):
            return Samples(reading.values, reading.rate, reading.wall, reading.monotonic, self._number, reading.gap)
        return Line(reading.text, reading.wall, reading.monotonic, self._number)


def _received(event: SamplesReady | LineReady, number: int, *, gap: bool) -> Captured:
    if isinstance(event, LineReady):
        return Line(event.text, event.wall, event.monotonic, number)
    values = np.frombuffer(base64.b64decode(event.values, validate=True), "<f4").reshape(-1, event.channels)
    return Samples(values, event.rate, event.wall, event.monotonic, number, gap or event.gap)


def reader_capture(plan: SourcePlan, fd: int) -> FrameCapture:
    """Return the capture of a live source; it owns the channel ``fd`` to the reader from now on."""
    if plan.gives == "image":
        return ReaderCapture(Channel(fd, FROM_READER, files=True))
    return StreamCapture(Channel(fd, FROM_STREAM, MAX_STRETCH_BYTES))


def local_capture(plan: SourcePlan) -> FrameCapture:
    """Return the capture of a source that the engine may read itself."""
    fps = plan.fps if plan.gives == "image" else None  # nothing of a signal is dropped
    return LocalCapture(make_source(plan), Orientation(plan.rotate, plan.flip), fps)
