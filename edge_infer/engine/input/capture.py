"""Captures supply a feed with the items of a source.

A capture receives them from the reader of a live source, or reads them from a file inside the engine.
"""

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
from edge_infer.ipc.messages import (
    FrameReady,
    LineReady,
    ReaderHello,
    ReaderTrouble,
    ReadingsDone,
    SamplesReady,
    StreamBegin,
    StreamCounts,
)
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
FROM_STREAM: Final = (StreamBegin, SamplesReady, LineReady, StreamCounts, ReaderTrouble)
"""Records that the engine accepts from the reader of a signal or of text lines."""
DONE_EVERY: Final = 8
DONE_AFTER: Final = 0.05
"""The engine acknowledges finished readings as soon as there are `DONE_EVERY` of them, otherwise after `DONE_AFTER`
seconds."""
LAST_READING: Final = 0.3
"""Seconds at the end of the engine in which pipelines may finish a reading. A finished reading is acknowledged, so the
next engine does not receive it again."""


class FrameCapture(Protocol):
    """Interface of a capture. ``run`` is the function of the capture thread and ends soon after ``feed.stopping``.

    ``interrupt``, called by another thread, ends a wait that may be long. A capture *may* have ``turns(feed)``, which
    does the same work step by step, so that a pipeline can capture in its own thread (`Feed.draw`). Each turn either
    offers an item or yields False.
    """

    def run(self, feed: Feed) -> None:
        """Offer every captured item to the feed until the feed stops."""

    def interrupt(self) -> None:
        """End a wait of `run`; called by another thread."""


class _NewChannels(Closing):
    """Channels to a restarted reader, on their way to the capture thread."""

    def __init__(self) -> None:
        self._files: SimpleQueue[int] = SimpleQueue()

    def put(self, file: int) -> None:
        self._files.put(file)

    def take(self) -> int | None:
        """Return the newest channel; None if no channel is waiting."""
        newest = None
        with suppress(Empty):
            while True:
                file = self._files.get_nowait()
                if newest is not None:
                    os.close(newest)
                newest = file
        return newest

    def close(self) -> None:
        """Close the channels that the capture thread has not taken; may be called twice."""
        if (file := self.take()) is not None:
            os.close(file)


class ReaderCapture:
    """Captures pictures of a live source from the shared memory of its reader; owns the channel to the reader."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._new = _NewChannels()

    def interrupt(self) -> None:
        """Do nothing: this capture never waits long."""

    def renew(self, file: int) -> None:
        """Continue with another channel.

        A leftover process of an earlier reader may still have access to the current channel.
        """
        self._new.put(file)

    def run(self, feed: Feed) -> None:
        """Offer the newest frame to the feed until the feed stops; its pixels stay in shared memory."""
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
                    feed.trouble("its reader has ended")
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
    """Captures samples or lines of a live source from its reader; owns the channel to the reader.

    The reader keeps a copy of each reading until every pipeline has finished the reading. After a restart of the
    engine, the reader sends the copies again. A reading is therefore lost only if the reader dies together with the
    engine, or if the reader cannot keep that many copies.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._new = _NewChannels()
        self._number = 0
        self._last = 0  # the reader's number, which restarts at 1 with each reader; `_number` continues
        self._greeted = self._begun = False
        """Whether the engine has greeted the reader, and whether the reader has answered. Until the reader has
        answered, its readings are for an earlier engine."""
        self._done = 0
        """The number of the last acknowledged reading, as the reader counts."""
        self._done_due = 0.0
        self._faults = 0
        self._gap = False
        """Whether the readings that are missing before the next reading have already been counted."""
        self._wrong = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)

    def interrupt(self) -> None:
        """Do nothing: this capture never waits long."""

    def renew(self, file: int) -> None:
        """Continue with another channel, as `ReaderCapture.renew` does."""
        self._new.put(file)

    def run(self, feed: Feed) -> None:
        """Process every record of the reader, in order, until the feed stops."""
        try:
            while not feed.stopping:
                self._use_new_channel()
                try:
                    self._take(feed)
                except ChannelClosedError:
                    feed.trouble("its reader has ended")
                    feed.pause(TICK)
            feed.await_between(LAST_READING)
            if self._begun:
                with suppress(ChannelClosedError):
                    self._acknowledge(feed, now=True)
        finally:
            self._channel.close()
            self._new.close()

    def _use_new_channel(self) -> None:
        """Continue with a restarted reader, which begins its numbering again."""
        if (file := self._new.take()) is not None:
            self._channel.close()
            self._channel = Channel(file, FROM_STREAM, MAX_STRETCH_BYTES)
            self._greeted = self._begun = False
            self._last, self._done, self._gap = 0, 0, True

    def _acknowledge(self, feed: Feed, *, now: bool = False) -> None:
        """Acknowledge the readings that every pipeline has finished, several at a time."""
        settled = feed.settled()
        done = self._last if settled is None else self._last - (self._number - settled)
        moment = time.monotonic()
        due = now or done - self._done >= DONE_EVERY or (done > self._done and moment >= self._done_due)
        if due and self._channel.send(ReadingsDone(max(done, self._done))):
            self._done, self._done_due = max(done, self._done), moment + DONE_AFTER

    def _take(self, feed: Feed) -> None:
        with suppress(ChannelClosedError):  # what a reader has sent before its end can still be received
            self._greeted = self._greeted or self._channel.send(ReaderHello())
            self._acknowledge(feed)
        try:
            event = self._channel.wait(TICK)
            if isinstance(event, StreamBegin):
                self._begun = True
                self._last = self._done = event.settled
            elif isinstance(event, ReaderTrouble) and event.open:
                feed.opened(event.text)
            elif isinstance(event, ReaderTrouble):
                feed.trouble(event.text, ended=event.ended)
            elif event is None or not self._begun:
                return
            elif isinstance(event, StreamCounts):
                step = event.number - self._last if event.number >= self._last else event.number
                self._count(feed, event, step, missed=step)
                self._gap |= step > 0
            else:
                check_moment(event.monotonic)
                gap = self._gap or event.number != self._last + 1  # this is also true when a new reader starts at 1
                step = event.number - self._last if event.number > self._last else 1
                self._count(feed, event, step, missed=step - 1)
                self._gap = False
                item = _received(event, self._number, gap=gap)
                feed.offer(self._number, lambda: item, repeated=isinstance(event, SamplesReady) and event.repeated)
        except ChannelClosedError:
            raise
        except (WireError, ValueError) as error:
            feed.trouble(shortened(f"the reader sent an invalid record: {error}"))
            if not self._wrong.take():
                feed.offence = shortened(f"too many invalid records: {error}")
                self._sit_out(feed)

    def _count(self, feed: Feed, event: SamplesReady | LineReady | StreamCounts, step: int, *, missed: int) -> None:
        """Advance to the reader's number, and count the readings that the reader has dropped or could not use.

        A new reader counts from 0.
        """
        if event.number < self._last:
            self._done = 0
        self._number, self._last = self._number + step, event.number
        feed.missed(missed)
        feed.left_out(event.faults - self._faults if event.faults >= self._faults else event.faults)
        self._faults = event.faults

    def _sit_out(self, feed: Feed) -> None:
        """Pause while the supervisor ends the reader, then discard the records that are left in the channel."""
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
        self._channel.send(ReadingsDone(self._last))  # readings that pipelines already have must not come again
        self._done, self._begun, self._greeted = self._last, False, False


class LocalCapture:
    """Captures frames of a file, a folder or a generator inside the engine, at most ``fps`` per second.

    A lossless source waits until the next frame is due. Any other source drops the frames that arrive before the
    next one is due. Samples and lines are never dropped.
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
        """Read one item per turn and yield whether that succeeded. After a failure, pause and open the source again."""
        pause = 0.5
        while not feed.stopping:
            try:
                yield from self._read_all(feed)
            except SourceError as error:
                feed.trouble(str(error))
            except EdgeInferError as error:
                feed.trouble(str(error), ended=True)
                return
            except Exception as error:  # decoders and plug-ins may raise anything; open the source again
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
    """Return the capture of a live source. The capture then owns ``fd``, the channel to the reader."""
    if plan.gives == "image":
        return ReaderCapture(Channel(fd, FROM_READER, files=True))
    return StreamCapture(Channel(fd, FROM_STREAM, MAX_STRETCH_BYTES))


def local_capture(plan: SourcePlan) -> FrameCapture:
    """Return the capture of a source that the engine reads itself."""
    fps = plan.fps if plan.gives == "image" else None  # no sample of a signal may be dropped
    return LocalCapture(make_source(plan), Orientation(plan.rotate, plan.flip), fps)
