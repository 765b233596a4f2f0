"""A source of samples or lines in the engine: everything counts, in order, until a pipeline falls too far behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from edge_infer.codec import replace
from edge_infer.config.plan import SourcePlan
from edge_infer.engine.cascade.feed import CropsFeed
from edge_infer.engine.feed import TICK, Cursor, Feed
from edge_infer.engine.frame import Captured, Line, Samples
from edge_infer.readers.sources.faults import Faults

MOST: Final = 512
"""Stretches or lines that may wait for one pipeline however old they are."""
OLDEST: Final = 60.0
"""Seconds that what waits beyond `MOST` may be old: a burst is worked off, a pipeline that is always too slow is not
followed for ever."""
LARGEST: Final = 32 << 20
"""Bytes that wait for one pipeline, by the size of the newest stretch: no reader can fill a small board."""
LEAST_BYTES: Final = 1024
"""What a stretch or line takes at least, with all that belongs to it."""
AHEAD: Final = 8
"""Stretches that a source whose writer waits, or a file, may be ahead of the slowest pipeline."""


class Stream(Feed):
    """Hands every stretch to every pipeline. A window has to be whole, so the oldest are not given up one by one."""

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self.keeps_all = True
        self._overruns = Faults()

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """The oldest stretch that this cursor has not seen, waiting for it up to ``timeout`` seconds."""
        self._draw(cursor)
        with self._lock:
            if not cursor.waiting and not self._changed.wait_for(lambda: bool(cursor.waiting), timeout):
                return None
            if self._holds():
                self._changed.notify_all()
            return cursor.waiting.popleft()

    def rest(self, cursor: Cursor) -> bool:
        """A signal does not wait: what is not looked at is still gathered."""
        del cursor
        return False

    def _waits(self, cursor: Cursor) -> bool:
        return bool(cursor.waiting)

    def newest(self) -> Captured | None:
        """The newest stretch or line."""
        with self._lock:
            return self._frame

    def offer(self, number: int, take: Callable[[], Captured], *, repeated: bool = False, black: bool = False) -> None:
        """A new stretch for every cursor."""
        with self._lock:
            item = take()
            self._number, self._frame = number, item
            samples = len(item.values) if isinstance(item, Samples) else 0
            self._watch.frame(time.monotonic(), repeated=repeated, black=black, samples=samples)
            for cursor in self._cursors:
                cursor.waiting.append(self._after_overrun(cursor, item))
            self._changed.notify_all()
            if self._holds() and not self.drawn_since:
                self._wait_for_pipelines()

    def _holds(self) -> bool:
        """Whether the source waits for the slowest pipeline, and nothing is dropped."""
        return self.lossless or self.plan.holds_writer

    def _wait_for_pipelines(self) -> None:
        while not self.stopping and any(len(cursor.waiting) >= AHEAD for cursor in self._cursors):
            self._changed.wait(TICK)
            self._watch.held(time.monotonic())

    def _after_overrun(self, cursor: Cursor, item: Captured) -> Captured:
        """The item, with a gap before it where everything that waited has to go."""
        if self._holds() or has_room(cursor, item):
            return item
        waiting = len(cursor.waiting)
        cursor.dropped += waiting
        cursor.waiting.clear()
        self._overruns.note(f"readings of source {self.plan.name} for which a pipeline was too slow", waiting)
        return replace(item, gap=True) if isinstance(item, Samples) else item


def has_room(cursor: Cursor, item: Captured) -> bool:
    """Whether one more may wait for a pipeline."""
    waiting = len(cursor.waiting)
    if waiting >= LARGEST // max(LEAST_BYTES, size_of(item)):
        return False
    return waiting < MOST or item.monotonic - cursor.waiting[0].monotonic < OLDEST


def size_of(item: Captured) -> int:
    """Bytes of what was read, without what belongs to it."""
    if isinstance(item, Samples):
        return item.values.nbytes
    return sys.getsizeof(item.text) if isinstance(item, Line) else 0


def make_feed(plan: SourcePlan) -> Feed:
    """The feed of a source: the newest picture, every stretch of a signal and every line, or what a pipeline found."""
    if plan.parent is not None:
        return CropsFeed(plan)
    return Feed(plan) if plan.gives == "image" else Stream(plan)
