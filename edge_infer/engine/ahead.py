"""The next frame, taken and prepared by a thread of its own while the one before it is in the model."""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import Final

from edge_infer.closing import Closing
from edge_infer.engine.feed import TICK, Cursor, Feed
from edge_infer.engine.frame import Captured
from edge_infer.engine.serving import Serving

log = logging.getLogger(__name__)

NEWEST: Final = 0.2
"""Weight of the newest time in what is usual."""
RESERVE: Final = 0.3
"""So much longer than usual a preparation may take without the model waiting for it, in shares of the usual time."""


class _State(enum.Enum):
    IDLE = "nothing is wanted"
    WANTED = "a frame is to be taken once it is time"
    AT_WORK = "a frame is being taken, or prepared"
    READY = "a frame is there, or none came"


class Ahead(Closing):
    """Between `begin` and `next` the worker is in the model; a context manager, whose thread starts with the first.

    A frame of a file is taken at once. One of a live source is taken so late that it is just ready when the model is:
    an earlier one would be older. Whatever serves by then, the frame is used once; what was prepared for a model
    that has gone is prepared again.
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
        self._usual = self._preparing = 0.0  # seconds: a frame in the model, and its preparation
        self.busy_since = 0.0
        """When the preparation under way began, on the monotonic clock; 0 between two."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"ahead-{name}", daemon=True)

    def close(self) -> None:
        """Ends the thread, without waiting for a frame that it may be at; may be called twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def begin(self, serving: Serving) -> None:
        """A frame goes into this model now."""
        if not serving.prepares or not serving.gate.open:
            return
        with self._changed:
            if self._state is not _State.IDLE:
                return
            now = time.monotonic()
            early = 0.0 if self._feed.lossless else self._usual - (1 + RESERVE) * self._preparing
            self._state, self._serving, self._due = _State.WANTED, serving, now + early
            if self._thread.ident is None:
                self._cpus = serving.plan.affinity  # those of the worker, whose thread makes this one
                self._thread.start()
            self._changed.notify_all()

    def done(self, seconds: float) -> None:
        """That frame took so long."""
        self._usual += (seconds - self._usual) * (NEWEST if self._usual else 1.0)

    def wait(self, timeout: float) -> bool:
        """Whether `next` has something at once, waiting for that up to ``timeout`` seconds."""
        if self._state is not _State.IDLE:
            with self._changed:
                if self._state is _State.AT_WORK:
                    self._changed.wait_for(lambda: self._state is _State.READY or self._stopping)
                if self._frame is not None or self._error is not None:
                    return True
                self._state = _State.IDLE
        return self._feed.wait(self._cursor, timeout)

    def next(self, timeout: float) -> Captured | None:
        """The frame that was taken meanwhile, else the next one of the feed; waits for it up to ``timeout`` seconds.

        Raises what kept it from being taken, here as there.
        """
        if self._state is _State.IDLE:
            return self._feed.next(self._cursor, timeout)
        with self._changed:
            if self._state is _State.AT_WORK:
                self._changed.wait_for(lambda: self._state is _State.READY or self._stopping)
            found, self._frame, self._state = self._frame, None, _State.IDLE
            error, self._error = self._error, None
        if error is not None:
            raise error
        return self._feed.next(self._cursor, timeout) if found is None else found

    def pass_over(self) -> None:
        """A while has passed: what a live source has shown before is old, and counts as dropped."""
        if self._state is _State.IDLE or self._feed.lossless:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._state is not _State.AT_WORK or self._stopping)
            self._cursor.dropped += self._frame is not None
            self._frame, self._error, self._state = None, None, _State.IDLE

    def _run(self) -> None:
        while self._wait():
            found, failed = None, None
            try:
                if self._serving.plan.affinity != self._cpus:
                    self._serving.stay()
                    self._cpus = self._serving.plan.affinity
                found = self._feed.next(self._cursor, TICK if self._feed.lossless else 0.0)
            except Exception as error:  # noqa: BLE001 - it is the worker's, which would wait for ever for this thread
                failed = error
            if found is not None:
                self._prepare(found)
            with self._changed:
                self._frame, self._error, self._state = found, failed, _State.READY
                self._changed.notify_all()
            found = failed = None  # a frame is large, and the next one may be long in coming

    def _wait(self) -> bool:
        """Until it is time to take a frame; False at the end."""
        with self._changed:
            while not self._stopping:
                rest = self._due - time.monotonic() if self._state is _State.WANTED else None
                if rest is not None and rest <= 0:
                    if not self._serving.pacer.left(time.monotonic()):
                        self._state = _State.AT_WORK
                        return True
                    self._state, rest = _State.IDLE, None  # it is the worker's, when its turn comes
                self._changed.wait(rest)
            return False

    def _prepare(self, frame: Captured) -> None:
        begun = self.busy_since = time.monotonic()
        try:
            self._serving.prepare(frame)
        except Exception:
            log.debug("the worker tries it again, and tells", exc_info=True)
        self.busy_since = 0.0
        self._preparing += (time.monotonic() - begun - self._preparing) * (NEWEST if self._preparing else 1.0)
