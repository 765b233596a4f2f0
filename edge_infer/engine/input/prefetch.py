"""Prefetch: a second thread takes and prepares the next frame while the model runs on the current one."""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import Final

from edge_infer.engine.input.feed import TICK, Cursor, Feed
from edge_infer.engine.model.serving import Serving
from edge_infer.frames.frame import Captured
from edge_infer.platform.closing import Closing

log = logging.getLogger(__name__)

NEWEST: Final = 0.2
"""Weight of the newest duration in the running average."""
RESERVE: Final = 0.3
"""Tolerance for a preparation that takes longer than average, as a fraction of the average."""


class _State(enum.Enum):
    IDLE = "nothing is wanted"
    WANTED = "a frame is to be taken once it is time"
    AT_WORK = "a frame is being taken, or prepared"
    READY = "a frame is there, or none came"


class Ahead(Closing):
    """Prefetches one frame while the worker runs the model, between `begin` and `next`; a context manager.

    The first `begin` starts the thread. The thread takes a frame of a file at once. The thread takes a frame of a live
    source as late as possible, so that the frame is new, but ready when the model is. While the model waits for a live
    source, nothing is prefetched, because prefetching would only wake the thread. Each frame is used once. If the model
    has been replaced in the meantime, the frame is prepared again for the new one.
    """

    def __init__(self, feed: Feed, cursor: Cursor, name: str) -> None:
        self._feed = feed
        self._cursor = cursor
        self._changed = threading.Condition()
        self._state = _State.IDLE
        self._serving: Serving
        self._cpus: tuple[int, ...] = ()
        self._due = 0.0
        self._frame: Captured | None = None
        self._error: Exception | None = None
        self._usual = self._preparing = 0.0  # running averages in seconds: a frame in the model, and its preparation
        self._source_is_slower = False
        """Whether the model had to wait for the last frame of a live source."""
        self.busy_since = 0.0
        """Time at which the current preparation began, on the monotonic clock; 0 when idle."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"ahead-{name}", daemon=True)

    def close(self) -> None:
        """End the thread, without waiting for a frame that it may be preparing; may be called twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def begin(self, serving: Serving) -> None:
        """Start to prefetch, because a frame enters this model now."""
        if self._source_is_slower or not serving.prepares or not serving.gate.open:
            return
        with self._changed:
            if self._state is not _State.IDLE:
                return
            now = time.monotonic()
            early = 0.0 if self._feed.lossless else self._usual - (1 + RESERVE) * self._preparing
            self._state, self._serving, self._due = _State.WANTED, serving, now + early
            if self._thread.ident is None:
                self._cpus = serving.plan.affinity  # inherited by threads that the worker creates
                self._thread.start()
            self._changed.notify_all()

    def done(self, seconds: float) -> None:
        """Record that the frame took ``seconds`` in the model."""
        self._usual += (seconds - self._usual) * (NEWEST if self._usual else 1.0)

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; return whether `next` would return a frame or raise at once."""
        if self._state is not _State.IDLE:
            with self._changed:
                if self._state is _State.AT_WORK:
                    self._changed.wait_for(lambda: self._state is _State.READY or self._stopping)
                if self._frame is not None or self._error is not None:
                    return True
                self._state = _State.IDLE
        self._compare(timeout)
        return self._feed.wait(self._cursor, timeout)

    def next(self, timeout: float) -> Captured | None:
        """Return the prefetched frame, or the feed's next frame; wait up to ``timeout`` seconds for this frame.

        Raises the error that prevented taking the frame, whichever thread it occurred in.
        """
        if self._state is not _State.IDLE:
            with self._changed:
                if self._state is _State.AT_WORK:
                    self._changed.wait_for(lambda: self._state is _State.READY or self._stopping)
                found, self._frame, self._state = self._frame, None, _State.IDLE
                error, self._error = self._error, None
            if error is not None:
                raise error
            if found is not None:
                return found
        self._compare(timeout)
        return self._feed.next(self._cursor, timeout)

    def pass_over(self) -> None:
        """Discard the prefetched frame of a live source after a delay, because it is old; count it as dropped."""
        if self._state is _State.IDLE or self._feed.lossless:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._state is not _State.AT_WORK or self._stopping)
            self._cursor.dropped += self._frame is not None
            self._frame, self._error, self._state = None, None, _State.IDLE

    def _compare(self, timeout: float) -> None:
        """Record whether the model has to wait for the source. A call with ``timeout`` 0 cannot show this."""
        if timeout > 0:
            self._source_is_slower = not self._feed.lossless and not self._feed.wait(self._cursor, 0.0)

    def _run(self) -> None:
        while self._wait():
            found, failed = None, None
            try:
                if self._serving.plan.affinity != self._cpus:
                    self._serving.stay()
                    self._cpus = self._serving.plan.affinity
                found = self._feed.next(self._cursor, TICK if self._feed.lossless else 0.0)
            except Exception as error:  # noqa: BLE001 - for the worker, which would wait forever otherwise
                failed = error
            if found is not None:
                self._prepare(found)
            with self._changed:
                self._frame, self._error, self._state = found, failed, _State.READY
                self._changed.notify_all()
            found = failed = None  # a frame is large, and the next one may come late

    def _wait(self) -> bool:
        """Wait until it is time to take a frame; return False when the thread has to end."""
        with self._changed:
            while not self._stopping:
                rest = self._due - time.monotonic() if self._state is _State.WANTED else None
                if rest is not None and rest <= 0:
                    if not self._serving.pacer.left(time.monotonic()):
                        self._state = _State.AT_WORK
                        return True
                    self._state, rest = _State.IDLE, None  # not due yet: the worker takes it itself when it is
                self._changed.wait(rest)
            return False

    def _prepare(self, frame: Captured) -> None:
        begun = self.busy_since = time.monotonic()
        try:
            self._serving.prepare(frame)
        except Exception:
            log.debug("preparing a frame ahead failed; the worker retries and reports the error", exc_info=True)
        self.busy_since = 0.0
        self._preparing += (time.monotonic() - begun - self._preparing) * (NEWEST if self._preparing else 1.0)
