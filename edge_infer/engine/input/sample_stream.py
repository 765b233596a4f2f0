"""Feed of samples or lines: every pipeline receives every item, in order, unless the pipeline falls too far behind."""

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
"""Number of items (blocks of samples, or lines) that may wait for one pipeline, however old they are."""
OLDEST: Final = 60.0
"""Maximum age in seconds of the items that wait beyond `MOST`.

With this limit a pipeline can catch up after a burst, but the lag of a slow pipeline stays limited.
"""
LARGEST: Final = 32 << 20
"""Maximum bytes that may wait for one pipeline, computed from the size of the newest item. The limit prevents a reader
from filling the memory of a small board."""
LEAST_BYTES: Final = 1024
"""Minimum assumed size of a waiting item in bytes, including overhead."""
AHEAD: Final = 8
"""Number of items by which a file, or a source whose writer can wait, may be ahead of the slowest pipeline."""


class SampleStream(Feed):
    """Hands every item (a block of samples, or a line) to every pipeline.

    If too many items wait for a pipeline, all waiting items are dropped, not only the oldest, because a window needs
    consecutive samples.
    """

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self.keeps_all = True
        self._overruns = Faults()

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """Return the oldest item that this cursor has not seen; wait up to ``timeout`` seconds for it."""
        self._draw(cursor)
        with self._lock:
            if not cursor.waiting and not self._await(lambda: bool(cursor.waiting), timeout):
                return None
            if self.holds:
                self._notify()
            item = cursor.waiting.popleft()
            cursor.last = item.number
            return item

    def rest(self, cursor: Cursor) -> bool:
        """Return False: a pipeline takes every item, because samples are gathered even if the model does not run."""
        del cursor
        return False

    def _waits(self, cursor: Cursor) -> bool:
        return bool(cursor.waiting)

    def backlog(self, cursor: Cursor) -> int:
        """Return the number of rows and lines that wait for this cursor.

        If none waits, return 1 while the pipeline still processes the last item, else 0.
        """
        with self._lock:
            return sum(map(rows_of, cursor.waiting)) or int(not cursor.between)

    def forget_waiting(self, cursor: Cursor) -> int:
        """Drop the waiting items of a pipeline that has ended; return the number of rows and lines."""
        with self._lock:
            rows = sum(map(rows_of, cursor.waiting))
            cursor.waiting.clear()
            return rows

    def newest(self) -> Captured | None:
        """Return the newest item."""
        with self._lock:
            return self._frame

    def offer(self, number: int, take: Callable[[], Captured], *, repeated: bool = False, black: bool = False) -> None:
        """Offer a new item to every cursor."""
        with self._lock:
            item = take()
            self._number, self._frame = number, item
            samples = len(item.values) if isinstance(item, Samples) else 0
            with self._watching:
                self._record(time.monotonic(), repeated=repeated, black=black, samples=samples)
            holds = self.holds
            for cursor in self._cursors:
                cursor.waiting.append(item if holds else self._after_overrun(cursor, item))
            self._notify()
            if holds and not self.drawn_since:
                self._wait_for_pipelines()

    @property
    def holds(self) -> bool:
        """Whether the source waits for the slowest pipeline, so that nothing is dropped."""
        return self.lossless or self.plan.holds_writer

    def _wait_for_pipelines(self) -> None:
        while not (self.stopping or self._pipelines_keep_up()):
            self._await(lambda: self.stopping or self._pipelines_keep_up(), TICK)
            with self._watching:
                self._watch.held(time.monotonic())

    def _pipelines_keep_up(self) -> bool:
        return all(len(cursor.waiting) < AHEAD for cursor in self._cursors)

    def _after_overrun(self, cursor: Cursor, item: Captured) -> Captured:
        """Return the item. If too many items wait for the cursor, drop them and mark this item with a gap."""
        if has_room(cursor, item):
            return item
        waiting = len(cursor.waiting)
        cursor.dropped += waiting
        cursor.waiting.clear()
        self._overruns.note(f"readings of source {self.plan.name} dropped because a pipeline was too slow", waiting)
        return replace(item, gap=True) if isinstance(item, Samples) else item


def has_room(cursor: Cursor, item: Captured) -> bool:
    """Return whether one more item may wait for a pipeline."""
    waiting = len(cursor.waiting)
    if waiting >= LARGEST // max(LEAST_BYTES, size_of(item)):
        return False
    return waiting < MOST or item.monotonic - cursor.waiting[0].monotonic < OLDEST


def rows_of(item: Captured) -> int:
    """Return the number of rows of a block; 1 for a line."""
    return len(item.values) if isinstance(item, Samples) else 1


def size_of(item: Captured) -> int:
    """Return the size of an item's content in bytes, without overhead."""
    if isinstance(item, Samples):
        return item.values.nbytes
    return sys.getsizeof(item.text) if isinstance(item, Line) else 0


def make_feed(plan: SourcePlan) -> Feed:
    """Return the feed for a source: newest picture, every item of a stream, or crops from another pipeline."""
    if plan.parent is not None:
        return CropsFeed(plan)
    return Feed(plan) if plan.gives == "image" else SampleStream(plan)
