"""One source in the engine: its capture thread, its newest frame for all pipelines, and how it does."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from edge_infer.channel import Channel, ChannelClosedError
from edge_infer.config.plan import SourcePlan
from edge_infer.engine.frame import Frame
from edge_infer.engine.frames_in import FrameReceiver
from edge_infer.engine.health import SourceWatch
from edge_infer.errors import EdgeInferError, SourceError
from edge_infer.messages import Reason, SourceHealth
from edge_infer.readers.orient import Orientation
from edge_infer.readers.pacer import Pacer
from edge_infer.readers.sources import Source, interrupt, make_source
from edge_infer.rooms import FrameReady, ReaderTrouble

log = logging.getLogger(__name__)

RETRY_MOST: Final = 5.0
TICK: Final = 0.2
"""Seconds after which every wait looks whether it has to stop."""


@dataclass(slots=True)
class Cursor:
    """How far one pipeline is in a feed: the last frame it took and how many it missed."""

    last: int = 0
    dropped: int = 0


class Feed:
    """Hands the newest frame to several pipelines; nothing queues.

    A live source drops what nobody took, and each cursor counts it; a lossless one waits until every cursor has the
    frame. Frames are copied out of the source's memory only when somebody takes them.
    """

    def __init__(self, plan: SourcePlan) -> None:
        self.plan = plan
        self.lossless = False
        self._watch = SourceWatch(time.monotonic())
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._cursors: list[Cursor] = []
        self._number = 0
        self._take: Callable[[], Frame] | None = None
        self._frame: Frame | None = None
        self._capture: Capture | None = None
        self._thread: threading.Thread | None = None

    def start(self, capture: Capture) -> None:
        """Begins to capture in a thread of its own."""
        self._capture = capture
        self._thread = threading.Thread(target=capture.run, args=(self,), name=f"capture-{self.plan.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begins to stop capturing."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Waits until capturing has stopped; may be called twice."""
        self.stop()
        if self._thread is not None:
            if self._capture is not None:
                self._capture.interrupt()
            self._thread.join(2.0)
            if self._thread.is_alive():
                log.warning("source %s: its capture thread did not stop", self.plan.name)
            self._thread = None

    # What pipelines call.

    def attach(self) -> Cursor:
        """A new reader of this feed; it starts with the next frame."""
        with self._changed:
            cursor = Cursor(self._number)
            self._cursors.append(cursor)
            self._changed.notify_all()
            return cursor

    def detach(self, cursor: Cursor) -> None:
        """The reader is gone; a lossless feed no longer waits for it."""
        with self._changed:
            if cursor in self._cursors:
                self._cursors.remove(cursor)
            self._changed.notify_all()

    def next(self, cursor: Cursor, timeout: float) -> Frame | None:
        """The newest frame that this cursor has not seen, waiting for it up to ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._number > cursor.last and self._take is not None, timeout):
                return None
            cursor.dropped += self._number - cursor.last - 1
            cursor.last = self._number
            frame = self._pixels()
            self._changed.notify_all()
            return frame

    def rest(self, cursor: Cursor) -> None:
        """What came while the pipeline did not want a frame is not counted as dropped."""
        with self._changed:
            if not self.lossless:
                cursor.last = self._number

    def newest(self) -> Frame | None:
        """The newest frame, whoever has seen it."""
        with self._changed:
            return self._pixels()

    def blocked(self) -> Reason | None:
        """Why nothing can be said about this source now."""
        with self._changed:
            return self._watch.blocked(time.monotonic())

    def health(self) -> SourceHealth:
        """What the health message says of this source."""
        with self._changed:
            return self._watch.health(time.monotonic())

    # What the capture thread calls.

    @property
    def stopping(self) -> bool:
        """Whether the capture thread has to end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Waits, or less when the feed is closed."""
        self._stop.wait(seconds)

    def offer(self, number: int, take: Callable[[], Frame], *, repeated: bool = False, black: bool = False) -> None:
        """A new frame: ``take`` copies it and is called at most once, before the next offer."""
        with self._changed:
            self._number, self._take, self._frame = number, take, None
            self._watch.frame(time.monotonic(), repeated=repeated, black=black)
            self._changed.notify_all()
            if self.lossless:
                self._changed.wait_for(lambda: self.stopping or self._taken(number))

    def trouble(self, text: str, *, ended: bool = False) -> None:
        """The source gives no frames, or, with ``ended``, never will again."""
        with self._changed:
            if text != self._watch.error and text:
                log.warning("source %s: %s", self.plan.name, text)
            self._watch.trouble(text)
            if ended:
                log.info("source %s has ended", self.plan.name)
                self._watch.end()

    def exclusively(self) -> threading.Condition:
        """While this is held nobody copies a frame."""
        return self._changed

    def _taken(self, number: int) -> bool:
        """Whether everybody has this frame; where nobody wants any, a lossless source waits for somebody who does."""
        return bool(self._cursors) and all(cursor.last >= number for cursor in self._cursors)

    def _pixels(self) -> Frame | None:
        if self._frame is None and self._take is not None:
            self._frame = self._take()
        return self._frame


class Capture(Protocol):
    """Where a feed's frames come from; ``run`` is its thread and ends soon after ``feed.stopping``.

    ``interrupt``, called by another thread, ends a wait that may be long.
    """

    def run(self, feed: Feed) -> None: ...

    def interrupt(self) -> None: ...


class ReaderCapture:
    """Frames of a live source, from the shared memory of its reader. Owns the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def interrupt(self) -> None:
        """It never waits for long."""

    def run(self, feed: Feed) -> None:
        """Takes the newest frame's token; pixels stay where they are until a pipeline wants them."""
        try:
            with FrameReceiver(self._channel) as receiver:
                while not feed.stopping:
                    receiver.wait(TICK)
                    with feed.exclusively():
                        self._take(receiver, feed)
        except ChannelClosedError:
            feed.trouble("its reader is gone")

    def _take(self, receiver: FrameReceiver, feed: Feed) -> None:
        event = receiver.receive()
        if isinstance(event, FrameReady):
            feed.offer(event.number, receiver.copy, repeated=event.repeated, black=event.black)
        elif isinstance(event, ReaderTrouble):
            feed.trouble(event.text, ended=event.ended)


class LocalCapture:
    """Frames of a file, a folder or a generator, read in the engine, at most ``fps`` a second.

    A lossless source waits for its turn; of another one the frames in between are left out.
    """

    def __init__(self, source: Source, orientation: Orientation, fps: float | None = None) -> None:
        self._source = source
        self._orientation = orientation
        self._pacer = Pacer(fps)
        self._number = 0

    def interrupt(self) -> None:
        """Ends a wait for the next picture."""
        interrupt(self._source)

    def run(self, feed: Feed) -> None:
        """Opens the source again, after a pause, whenever it fails."""
        pause = 0.5
        while not feed.stopping:
            try:
                self._read_all(feed)
            except SourceError as error:
                feed.trouble(str(error))
            except EdgeInferError as error:
                feed.trouble(str(error), ended=True)
                return
            except Exception as error:  # whatever a decoder or a plug-in throws, the source is tried again
                log.debug("source %s failed in a way that it should not", feed.plan.name, exc_info=True)
                feed.trouble(f"unexpected {type(error).__name__}: {error}")
            else:
                return
            feed.pause(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, RETRY_MOST)

    def _read_all(self, feed: Feed) -> None:
        with self._source as source:
            feed.lossless = source.lossless
            while not feed.stopping:
                picture = source.read()
                if picture is None:
                    if not feed.stopping:
                        feed.trouble("", ended=True)
                    break
                if source.lossless:
                    feed.pause(self._pacer.delay(time.monotonic()))
                if not self._pacer.due(time.monotonic()) and not source.lossless:
                    continue
                self._number += 1
                pixels = self._orientation.copy(picture.pixels)
                frame = Frame(pixels, picture.color, picture.wall, picture.monotonic, self._number)
                feed.offer(self._number, lambda frame=frame: frame)  # type: ignore[misc]


def local_capture(plan: SourcePlan) -> LocalCapture:
    """The capture of a source that the engine may read itself."""
    return LocalCapture(make_source(plan), Orientation(plan.rotate, plan.flip), plan.fps)
