"""A source of samples or lines in the engine: every item counts, in order, until a pipeline falls too far behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.engine.cascade.parent import CropsFeed
from edge_infer.engine.input.feed import TICK, Cursor, Feed
from edge_infer.frames.frame import Captured, Line, Samples
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.sources.faults import Faults

MOST: Final = 512
"""Stretches or lines that may wait for one pipeline regardless of their age."""
OLDEST: Final = 60.0
"""Maximum age in seconds of the queue beyond `MOST`.

So a pipeline works off a burst, but one that is always too slow does not lag without limit.
"""
LARGEST: Final = 32 << 20
"""Bytes that may wait for one pipeline, by the size of the newest stretch: no reader can fill a small board."""
LEAST_BYTES: Final = 1024
"""Lowest assumed size of a queued stretch or line, with its overhead."""
AHEAD: Final = 8
"""Stretches that a file, or a source whose writer waits, may be ahead of the slowest pipeline."""


class SampleStream(Feed):
    """Hands every stretch to every pipeline.

    An overrun drops the whole queue instead of the oldest items one by one, because a window needs consecutive samples.
    """

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self.keeps_all = True
        self._overruns = Faults()

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """Return the oldest stretch that this cursor has not seen; wait up to ``timeout`` seconds for it."""
        self._draw(cursor)
        with self._lock:
            if not cursor.waiting and not self._changed.wait_for(lambda: bool(cursor.waiting), timeout):
                return None
            if self.holds:
                self._changed.notify_all()
            item = cursor.waiting.popleft()
            cursor.last = item.number
            return item

    def rest(self, cursor: Cursor) -> bool:
        """Return False: a signal does not wait, because samples are gathered even if the model does not look."""
        del cursor
        return False

    def _waits(self, cursor: Cursor) -> bool:
        return bool(cursor.waiting)

    def backlog(self, cursor: Cursor) -> int:
        """Return the rows and lines that wait for this cursor, or 1 while it is in the middle of the last."""
        with self._lock:
            rows = sum(len(each.values) if isinstance(each, Samples) else 1 for each in cursor.waiting)
            return rows or int(not cursor.between)

    def newest(self) -> Captured | None:
        """Return the newest stretch or line."""
        with self._lock:
            return self._frame

    def offer(self, number: int, take: Callable[[], Captured], *, repeated: bool = False, black: bool = False) -> None:
        """Offer a new stretch to every cursor."""
        with self._lock:
            item = take()
            self._number, self._frame = number, item
            samples = len(item.values) if isinstance(item, Samples) else 0
            self._watch.frame(time.monotonic(), repeated=repeated, black=black, samples=samples)
            for cursor in self._cursors:
                cursor.waiting.append(self._after_overrun(cursor, item))
            self._changed.notify_all()
            if self.holds and not self.drawn_since:
                self._wait_for_pipelines()

    @property
    def holds(self) -> bool:
        """Whether the source waits for the slowest pipeline, so that nothing is dropped."""
        return self.lossless or self.plan.holds_writer

    def _wait_for_pipelines(self) -> None:
        while not self.stopping and any(len(cursor.waiting) >= AHEAD for cursor in self._cursors):
            self._changed.wait(TICK)
            self._watch.held(time.monotonic())

    def _after_overrun(self, cursor: Cursor, item: Captured) -> Captured:
        """Return the item; if the queue overruns, empty it and mark the item with a gap."""
        if self.holds or has_room(cursor, item):
            return item
        waiting = len(cursor.waiting)
        cursor.dropped += waiting
        cursor.waiting.clear()
        self._overruns.note(f"readings of source {self.plan.name} for which a pipeline was too slow", waiting)
        return replace(item, gap=True) if isinstance(item, Samples) else item


def has_room(cursor: Cursor, item: Captured) -> bool:
    """Return whether one more item may wait for a pipeline."""
    waiting = len(cursor.waiting)
    if waiting >= LARGEST // max(LEAST_BYTES, size_of(item)):
        return False
    return waiting < MOST or item.monotonic - cursor.waiting[0].monotonic < OLDEST


def size_of(item: Captured) -> int:
    """Bytes of the content of an item, without overhead."""
    if isinstance(item, Samples):
        return item.values.nbytes
    return sys.getsizeof(item.text) if isinstance(item, Line) else 0


def make_feed(plan: SourcePlan) -> Feed:
    """Return the feed of a source: newest picture, every stretch or line, or crops of another pipeline's findings."""
    if plan.parent is not None:
        return CropsFeed(plan)
    return Feed(plan) if plan.gives == "image" else SampleStream(plan)
