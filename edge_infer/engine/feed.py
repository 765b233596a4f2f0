"""One source in the engine: its capture thread, its newest frame for all pipelines, and how it does."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_infer.config.plan import SourcePlan
from edge_infer.engine.frame import Captured
from edge_infer.engine.health import SourceWatch
from edge_infer.errors import shortened
from edge_infer.messages import Reason, SourceHealth

if TYPE_CHECKING:
    from edge_infer.engine.capture import Capture

log = logging.getLogger(__name__)

LEAST_LOOKS: Final = 2.0
"""Frames a second of which a source is judged, whoever looks at fewer: it is lost after ten intervals, but not later
than after 5 s."""
TICK: Final = 0.2
"""Seconds after which every wait looks whether it has to stop."""


@dataclass(slots=True, eq=False)  # two that are equally far are still two
class Cursor:
    """How far one pipeline is: the last frame it took, how many it missed, and what waits for it in a stream.

    ``unheard`` is why nothing could be said for a moment before the frame that comes next.
    """

    last: int = 0
    dropped: int = 0
    waiting: deque[Captured] = field(default_factory=deque)
    unheard: Reason | None = None
    most: float | None = None
    """How many frames a second it takes at most, as far as that is known."""


class Feed:
    """Hands the newest frame to several pipelines; nothing queues.

    A live source drops what nobody took, and each cursor counts it; a lossless one waits until every cursor has the
    frame. What a frame is made of is asked of the source only when somebody takes it.
    """

    def __init__(self, plan: SourcePlan) -> None:
        self.plan = plan
        self.lossless = False
        self.keeps_all = False
        """Whether whatever comes waits for every pipeline, and counts however long that takes."""
        self.offence = ""
        """What its reader sends against the rules of the wire, until that is reported."""
        self._watch = SourceWatch(time.monotonic(), noisy=plan.noisy, quiet=plan.gives == "text", pause=plan.pause)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._unparked = threading.Condition(self._lock)  # apart, so that not every frame wakes who is parked
        self._stop = threading.Event()
        self._cursors: list[Cursor] = []
        self._number = 0
        self._take: Callable[[], Captured] | None = None
        self._frame: Captured | None = None
        self._capture: Capture | None = None
        self._thread: threading.Thread | None = None
        self._drawing: Cursor | None = None  # who would read on by itself
        self._turns: Iterator[bool] = iter(())
        self._parked = False  # the capture's thread leaves it to that one
        self.drawn_since = 0.0
        """When a pipeline began to read by itself, on the monotonic clock; 0 while none does."""

    def start(self, capture: Capture) -> None:
        """Begins to capture in a thread of its own."""
        self._capture = capture
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name=f"capture-{self.plan.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Begins to stop capturing."""
        self._stop.set()
        with self._lock:
            self._tell()

    def close(self, timeout: float = 2.0) -> None:
        """Waits up to ``timeout`` seconds until capturing has stopped; may be called twice."""
        self.stop()
        if self._thread is not None:
            if self._capture is not None:
                self._capture.interrupt()
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("source %s: its capture thread did not stop", self.plan.name)
            self._thread = None

    # What pipelines call.

    def attach(self) -> Cursor:
        """A new reader of this feed; it starts with the next frame."""
        with self._lock:
            cursor = Cursor(self._number)
            self._cursors.append(cursor)
            self._tell()
            return cursor

    def attach_again(self, cursor: Cursor) -> None:
        """A reader that was gone is back and starts with the next frame; nothing changes for one that was not."""
        with self._lock:
            if cursor not in self._cursors:
                cursor.last = self._number
                cursor.waiting.clear()
                self._cursors.append(cursor)
                self._tell()

    def detach(self, cursor: Cursor) -> None:
        """The reader is gone; a lossless feed no longer waits for it."""
        with self._lock:
            if cursor in self._cursors:
                self._cursors.remove(cursor)
            self._tell()

    def draw(self, cursor: Cursor, *, alone: bool) -> None:
        """Whether this pipeline, as long as it is ``alone``, reads on by itself where nothing may be dropped.

        Its own thread then does what that of the capture did: a model may be done before one has woken the other.
        """
        with self._lock:
            if alone or self._drawing is cursor:
                self._drawing = cursor if alone else None
            self._tell()

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """The newest frame that this cursor has not seen, waiting for it up to ``timeout`` seconds."""
        self._draw(cursor)
        with self._lock:
            if not self._waits(cursor) and not self._changed.wait_for(lambda: self._waits(cursor), timeout):
                return None
            cursor.dropped += self._number - cursor.last - 1
            cursor.last = self._number
            frame = self._pixels()
            if self.lossless:
                self._changed.notify_all()
            return frame

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Whether there is something that this cursor has not seen, waiting for it up to ``timeout`` seconds."""
        self._draw(cursor)
        with self._changed:
            return self._changed.wait_for(lambda: self._waits(cursor), timeout)

    def rest(self, cursor: Cursor) -> bool:
        """Whether a pipeline that wants no frame yet may wait; what comes meanwhile is not counted as dropped."""
        with self._lock:
            if not self.lossless:
                cursor.last = self._number
            return True

    def newest(self) -> Captured | None:
        """The newest frame, whoever has seen it."""
        with self._lock:
            return self._pixels()

    def looks(self) -> float | None:
        """How many frames a second anybody looks at, at most; None: somebody takes all of them."""
        with self._lock:
            most = [cursor.most for cursor in self._cursors]
        limits = [limit for limit in most if limit is not None]
        return max((LEAST_LOOKS, *limits)) if len(limits) == len(most) else None

    def blocked(self) -> Reason | None:
        """Why nothing can be said about this source now."""
        with self._lock:
            return self._watch.blocked(time.monotonic())

    def health(self) -> SourceHealth:
        """What the health message says of this source."""
        with self._lock:
            return self._watch.health(time.monotonic())

    # What the capture thread calls.

    @property
    def stopping(self) -> bool:
        """Whether the capture thread has to end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Waits, or less when the feed is closed."""
        self._stop.wait(seconds)

    def offer(self, number: int, take: Callable[[], Captured], *, repeated: bool = False, black: bool = False) -> None:
        """A new frame: ``take`` gives it and is called at most once, before the next offer."""
        with self._lock:
            self._number, self._take, self._frame = number, take, None
            now = time.monotonic()
            if self._watch.error:
                log.info("source %s is back after %.0f s", self.plan.name, self._watch.silence(now))
            self._watch.frame(now, repeated=repeated, black=black)
            self._changed.notify_all()
            if self.lossless and not self.drawn_since:
                self._changed.wait_for(lambda: self.stopping or self._taken(number))

    def trouble(self, text: str, *, ended: bool = False) -> None:
        """The source gives no frames, or, with ``ended``, never will again."""
        with self._lock:
            if text != self._watch.error and text:
                log.warning("source %s: %s", self.plan.name, text)
            self._watch.trouble(text)
            if ended:
                log.info("source %s has ended", self.plan.name)
                self._watch.end()

    def left_out(self, count: int) -> None:
        """So many more readings were broken or lost before they came here."""
        if count > 0:
            with self._lock:
                self._watch.faults += count

    def missed(self, count: int) -> None:
        """So many readings were lost on their way here, because the engine had no room for them."""
        if count > 0:
            with self._lock:
                for cursor in self._cursors:
                    cursor.dropped += count

    def exclusively(self) -> threading.Condition:
        """While this is held nobody takes a frame."""
        return self._changed

    def _run(self, capture: Capture) -> None:
        """The capture's thread; what fails in a way that it should not is told: nobody would look for it."""
        try:
            self._read(capture)
        except Exception as error:  # the outermost loop of this thread: the other sources go on
            log.exception("source %s: capturing has ended because of a fault of its own", self.plan.name)
            self.trouble(shortened(f"capturing has ended because of an unexpected {type(error).__name__}: {error}"))

    def _read(self, capture: Capture) -> None:
        """Reads on, unless a pipeline does."""
        turns = getattr(capture, "turns", None)
        if turns is None:
            capture.run(self)
            return
        self._turns = turns(self)
        for _ in self._turns:
            with self._lock:
                self._parked = self._alone()
                self._changed.notify_all()
                self._unparked.wait_for(lambda: not self.drawn_since and (self.stopping or not self._alone()))
                self._parked = False

    def _tell(self) -> None:
        self._changed.notify_all()
        self._unparked.notify_all()

    def _alone(self) -> bool:
        return self.lossless and self.plan.fps is None and self._cursors == [self._drawing]

    def _draw(self, cursor: Cursor) -> None:
        """One turn of the capture, in the thread of the pipeline that draws; a bad turn is for the other thread."""
        if self._drawing is not cursor:
            return
        with self._lock:
            if not self._parked and not self._waits(cursor):
                self._changed.wait_for(lambda: self._parked or self._waits(cursor) or not self._alone(), TICK)
            if self._waits(cursor) or not (self._parked and self._alone()):
                return
            self.drawn_since = time.monotonic()
        good = False
        try:
            good = next(self._turns, False)
        finally:
            with self._lock:
                self.drawn_since = 0.0
                self._drawing = self._drawing if good else None
                if self.stopping or not self._alone():
                    self._tell()

    def _waits(self, cursor: Cursor) -> bool:
        return self._number > cursor.last and self._take is not None

    def _taken(self, number: int) -> bool:
        """Whether everybody has this frame; where nobody wants any, a lossless source waits for somebody who does."""
        return bool(self._cursors) and all(cursor.last >= number for cursor in self._cursors)

    def _pixels(self) -> Captured | None:
        if self._frame is None and self._take is not None:
            self._frame = self._take()
        return self._frame
