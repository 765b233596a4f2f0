"""Feed: one source in the engine, with its capture thread, its newest frame for all pipelines, and its health."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_infer.contract.messages import Reason, SourceHealth
from edge_infer.engine.output.health import SourceWatch
from edge_infer.errors import shortened
from edge_infer.frames.frame import Captured
from edge_infer.ipc.messages import ENDED
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.rate_limits import TokenBucket

if TYPE_CHECKING:
    from edge_infer.engine.input.capture import FrameCapture

log = logging.getLogger(__name__)

LEAST_LOOKS: Final = 2.0
"""Minimum frame rate requested of a source, in frames per second, even if pipelines take fewer frames.

The source's health is derived from these frames. A source counts as lost after ten missing intervals, which are 5 s at
this rate.
"""
MAX_BURST_LINES, LINES_PER_SECOND = 20, 1 / 60
"""Limits for log lines about losses and returns of one source: a burst, and a rate per second."""
TICK: Final = 0.2
"""Seconds after which every wait checks whether it has to end."""
SHORT: Final = 0.01
"""The same interval for waits that would delay a shutdown."""


@dataclass(slots=True, eq=False)  # compared by identity: two cursors at the same position are different
class Cursor:
    """Read position of one pipeline: its last frame, the number of missed frames, and its queue of a stream's items.

    ``unheard`` is the reason of a null state that the pipeline must publish before its next frame; None if no null
    state is due.
    """

    last: int = 0
    settled: int = 0
    """Number of the last item of a stream that the pipeline has finished."""
    dropped: int = 0
    waiting: deque[Captured] = field(default_factory=deque)
    unheard: Reason | None = None
    most: float | None = None
    """Upper limit of the frames per second that the pipeline takes; None if unknown."""

    @property
    def between(self) -> bool:
        """Whether the pipeline has finished every frame that it took."""
        return self.settled >= self.last


class Feed:
    """Hands the newest frame of a source to several pipelines, without a queue.

    If a source is live, a frame that no pipeline took in time is dropped, and each cursor counts its missed frames. A
    lossless source waits until every cursor has the frame. The feed fetches the content of a frame only when a pipeline
    takes the frame.
    """

    def __init__(self, plan: SourcePlan) -> None:
        self.plan = plan
        self.lossless = False
        self.keeps_all = False
        """Whether every item stays valid until every pipeline has taken it, for any time."""
        self.offence = ""
        """Protocol violation by the reader; emptied once it is reported."""
        self._watch = SourceWatch(time.monotonic(), noisy=plan.noisy, quiet=plan.gives == "text", pause=plan.pause)
        self._frozen = False
        self._lines, self._untold = TokenBucket(MAX_BURST_LINES, LINES_PER_SECOND), 0
        self._watching = threading.Lock()  # guards `_watch`: a report must not wait while a pipeline copies a frame
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._awaiting = 0
        """Number of threads that wait for `_changed`. Usually there is none, and asking takes less than notifying."""
        self._unparked = threading.Condition(self._lock)  # separate, so that not every frame wakes a parked thread
        self._stop = threading.Event()
        self._cursors: list[Cursor] = []
        self._number = 0
        self._take: Callable[[], Captured] | None = None
        self._frame: Captured | None = None
        self._capture: FrameCapture | None = None
        self._thread: threading.Thread | None = None
        self._drawing: Cursor | None = None  # the pipeline that may read the source in its own thread
        self._turns: Iterator[bool] = iter(())
        self._parked = False  # whether the capture thread leaves the reading to that pipeline
        self.drawn_since = 0.0
        """Time at which a pipeline began its current read of the source, on the monotonic clock; 0 while no pipeline
        reads."""

    def start(self, capture: FrameCapture) -> None:
        """Start the capture thread."""
        self._capture = capture
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name=f"capture-{self.plan.name}", daemon=True
        )
        self._thread.start()

    def renew(self, file: int) -> bool:
        """Continue with another channel to the reader of a live source.

        Return whether the capture accepts the channel.
        """
        renew: Callable[[int], None] | None = getattr(self._capture, "renew", None)
        if renew is None or self.stopping:
            return False
        renew(file)
        return True

    def stop(self) -> None:
        """Ask the capture to stop, without waiting."""
        self._stop.set()
        with self._lock:
            self._tell()

    def close(self, timeout: float = 2.0) -> None:
        """Wait up to ``timeout`` seconds until capturing has stopped; may be called twice."""
        self.stop()
        if self._thread is not None:
            if self._capture is not None:
                self._capture.interrupt()
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning(
                    "source %s: capture thread did not stop in time; it may run until the engine ends", self.plan.name
                )
            self._thread = None

    # Called by pipelines.

    @property
    def holds(self) -> bool:
        """Whether the source waits for the slowest pipeline, so that it drops nothing."""
        return self.lossless

    def attach(self) -> Cursor:
        """Return a cursor for a new pipeline; its first item is the next frame."""
        with self._lock:
            cursor = Cursor(self._number, self._number)
            self._cursors.append(cursor)
            self._tell()
            return cursor

    def attach_again(self, cursor: Cursor) -> None:
        """Attach a detached cursor again; its first item is the next frame. An attached cursor stays as it is."""
        with self._lock:
            if cursor not in self._cursors:
                cursor.last = cursor.settled = self._number
                cursor.waiting.clear()
                self._cursors.append(cursor)
                self._tell()

    def backlog(self, cursor: Cursor) -> int:
        """Return the number of rows and lines that wait for this cursor.

        If none waits, return 1 while the pipeline still processes the last item, else 0.
        """
        del cursor
        return 0

    def forget_waiting(self, cursor: Cursor) -> int:
        """Drop the waiting items of a pipeline that has ended; return the number of rows and lines."""
        del cursor
        return 0

    def detach(self, cursor: Cursor) -> None:
        """Remove the cursor, so that a lossless feed no longer waits for it.

        A feed that is stopping keeps the cursor: items that its pipeline has not finished are sent again to the next
        engine.
        """
        with self._lock:
            if cursor in self._cursors and not self.stopping:
                self._cursors.remove(cursor)
            self._tell()

    def draw(self, cursor: Cursor, *, alone: bool) -> None:
        """Let this pipeline, while it is ``alone``, read a lossless source in its own thread.

        The pipeline's thread then does the work of the capture thread. With a quick model this is faster, because
        waking another thread takes longer than the model.
        """
        with self._lock:
            if alone or self._drawing is cursor:
                self._drawing = cursor if alone else None
            self._tell()

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """Return the newest frame that this cursor has not seen; wait up to ``timeout`` seconds for it."""
        self._draw(cursor)
        with self._lock:
            if not self._waits(cursor) and not self._await(lambda: self._waits(cursor), timeout):
                return None
            cursor.dropped += self._number - cursor.last - 1
            cursor.last = self._number
            frame = self._pixels()
            if self.lossless:
                self._notify()
            return frame

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for an item that this cursor has not seen; return whether there is one."""
        self._draw(cursor)
        with self._lock:
            return self._waits(cursor) or self._await(lambda: self._waits(cursor), timeout)

    def rest(self, cursor: Cursor) -> bool:
        """Return whether a pipeline may wait before its next frame.

        If so, frames that arrive in the meantime do not count as dropped.
        """
        with self._lock:
            if not self.lossless:
                cursor.last = self._number
            return True

    def newest(self) -> Captured | None:
        """Return the newest frame, whether or not a pipeline has seen it."""
        with self._lock:
            return self._pixels()

    def looks(self) -> float | None:
        """Return the highest frame rate that any pipeline takes; None if a pipeline takes all frames."""
        with self._lock:
            most = [cursor.most for cursor in self._cursors]
        limits = [limit for limit in most if limit is not None]
        return max((LEAST_LOOKS, *limits)) if len(limits) == len(most) else None

    def blocked(self) -> Reason | None:
        """Return the reason why the current frames of this source are not valid; None if they are valid."""
        with self._watching:
            return self._watch.blocked(time.monotonic())

    def health(self) -> SourceHealth:
        """Return the entry of this source in the health message, and log a loss that the reader did not report."""
        with self._watching:
            now = time.monotonic()
            if self._cursors and self._watch.lost_silently(now):  # while no pipeline takes rows, the writer may wait
                self._watch.silent = self._silence(time.time() - self._watch.silence(now))
                self._log(logging.WARNING, self._watch.silent)
            return self._watch.health(now)

    def _silence(self, since: float) -> str:
        """Describe a silence that began at this time; the writer of a pipe is the only cause that can be named."""
        what = "frame" if self.plan.gives == "image" else "row"
        when = time.strftime("since %H:%M:%S", time.localtime(since)) if self._watch.seen else "yet"
        ask = "does a program still write into it" if self._watch.seen else "does a program write into it"
        return f"no {what} {when}{f': {ask}?' if self.plan.holds_writer else ''}"

    # Called by the capture thread.

    @property
    def stopping(self) -> bool:
        """Whether the capture thread has to end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Wait ``seconds``, or less if the feed is closed."""
        self._stop.wait(seconds)

    def offer(self, number: int, take: Callable[[], Captured], *, repeated: bool = False, black: bool = False) -> None:
        """Offer a new frame. ``take`` returns the frame; it is called at most once, and before the next offer."""
        with self._lock:
            self._number, self._take, self._frame = number, take, None
            now = time.monotonic()
            with self._watching:
                if self._watch.error:
                    self._log(logging.INFO, f"is back after {self._watch.silence(now):.0f} s")
                self._record(now, repeated=repeated, black=black)
            self._notify()
            if self.lossless and not self.drawn_since:
                self._await(lambda: self.stopping or self._taken(number))

    def _record(self, now: float, *, repeated: bool, black: bool, samples: int = 0) -> None:
        """Record a frame, and log when the source becomes frozen or changes again. The caller holds `_watching`."""
        if self._watch.silent:
            self._log(logging.INFO, f"is back after {self._watch.silence(now):.0f} s")
        self._watch.frame(now, repeated=repeated, black=black, samples=samples)
        unchanged = self._watch.unchanged
        if self._frozen != (unchanged > 0):
            self._frozen = not self._frozen
            if self._frozen:
                self._log(logging.WARNING, f"frozen: nothing in it has changed for {unchanged:.0f} s")
            else:
                self._log(logging.INFO, "is no longer frozen")

    def trouble(self, text: str, *, ended: bool = False) -> None:
        """Record why the source gives no frames. ``ended``: the source will never give frames again."""
        with self._watching:
            if text not in ("", ENDED, self._watch.error):
                self._log(logging.WARNING, text)
            self._watch.trouble(text)
            if ended:
                log.info("source %s has ended", self.plan.name)
                self._watch.end()

    def opened(self, away: str) -> None:
        """Record that the reader has opened the source.

        ``away`` is the reason why programs cannot find the source any more; empty if they can.
        """
        with self._watching:
            if away and away != self._watch.away:
                self._log(logging.WARNING, away)
            elif not away and (self._watch.error or self._watch.away):
                self._log(logging.INFO, "is open again")
            self._watch.opened(away)

    def _log(self, level: int, text: str) -> None:
        """Log a change of the source's state, within limits: a source that comes and goes must not fill the journal."""
        if not self._lines.take():
            self._untold += 1
            return
        more = f" ({self._untold} more lines about it suppressed)" if self._untold else ""
        self._untold = 0
        between = " " if level == logging.INFO else ": "
        log.log(level, "source %s%s%s%s", self.plan.name, between, text, more)

    def left_out(self, count: int) -> None:
        """Count readings that were invalid or lost before they reached the engine."""
        if count > 0:
            with self._watching:
                self._watch.faults += count

    def settled(self) -> int | None:
        """Return the number of the item up to which every pipeline has finished; None if all items are finished."""
        with self._lock:
            return min((each.settled for each in self._cursors if each.waiting or not each.between), default=None)

    def await_between(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until no pipeline is processing an item."""
        until = time.monotonic() + timeout
        while not all(each.between for each in self._cursors) and time.monotonic() < until:
            time.sleep(SHORT)

    def missed(self, count: int) -> None:
        """Count readings that the reader dropped because the engine's queue was full."""
        if count > 0:
            with self._lock:
                for cursor in self._cursors:
                    cursor.dropped += count

    def exclusively(self) -> threading.Condition:
        """Return the lock. While a thread holds it, no pipeline can take a frame."""
        return self._changed

    def _run(self, capture: FrameCapture) -> None:
        """Run the capture thread. Report an unexpected error, so that the source does not stop without notice."""
        try:
            self._read(capture)
        except Exception as error:  # the outermost handler of this thread: the other sources continue
            log.exception("source %s: capture thread stops: unexpected exception", self.plan.name)
            self.trouble(shortened(f"capturing stopped with an unexpected {type(error).__name__}: {error}"))

    def _read(self, capture: FrameCapture) -> None:
        """Read the source, except while a pipeline reads it in its own thread."""
        turns = getattr(capture, "turns", None)
        if turns is None:
            capture.run(self)
            return
        self._turns = turns(self)
        for _ in self._turns:
            with self._lock:
                self._parked = self._alone()
                self._notify()
                self._unparked.wait_for(lambda: not self.drawn_since and (self.stopping or not self._alone()))
                self._parked = False

    def _await(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds until something changed so that ``ready`` returns true.

        Return whether it does. The caller holds the lock.
        """
        self._awaiting += 1
        try:
            return self._changed.wait_for(ready, timeout)
        finally:
            self._awaiting -= 1

    def _notify(self) -> None:
        """Wake the threads in `_await`. The caller holds the lock."""
        if self._awaiting:
            self._changed.notify_all()

    def _tell(self) -> None:
        self._notify()
        self._unparked.notify_all()

    def _alone(self) -> bool:
        return self.lossless and self.plan.fps is None and self._cursors == [self._drawing]

    def _draw(self, cursor: Cursor) -> None:
        """Run one turn of the capture in the pipeline's thread. After a failed turn the capture thread resumes."""
        if self._drawing is not cursor:
            return
        with self._lock:
            if not self._parked and not self._waits(cursor):
                self._await(lambda: self._parked or self._waits(cursor) or not self._alone(), TICK)
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
        """Return whether every pipeline has taken this frame.

        Without any pipeline return False, so that a lossless source waits for a pipeline.
        """
        return bool(self._cursors) and all(cursor.last >= number for cursor in self._cursors)

    def _pixels(self) -> Captured | None:
        if self._frame is None and self._take is not None:
            self._frame = self._take()
        return self._frame
