"""A source of samples or lines in the engine: everything counts, in order, until a pipeline falls too far behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edge_infer.config.plan import SourcePlan
from edge_infer.engine.cascade.feed import CropsFeed
from edge_infer.engine.feed import Cursor, Feed
from edge_infer.engine.frame import Captured, Samples

MOST: Final = 512
"""Stretches or lines that wait for one pipeline; with one more all of them are dropped, and what follows has a gap."""
LARGEST: Final = 32 << 20
"""Bytes of samples that wait for one pipeline, by the size of the newest stretch: no reader can fill a small board."""
AHEAD: Final = 8
"""Stretches that a lossless source may be ahead of the slowest pipeline."""


class Stream(Feed):
    """Hands every stretch to every pipeline. A window has to be whole, so the oldest are not given up one by one."""

    def next(self, cursor: Cursor, timeout: float) -> Captured | None:
        """The oldest stretch that this cursor has not seen, waiting for it up to ``timeout`` seconds."""
        self._draw(cursor)
        with self._lock:
            if not cursor.waiting and not self._changed.wait_for(lambda: bool(cursor.waiting), timeout):
                return None
            if self.lossless:
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
            self._watch.frame(time.monotonic(), repeated=repeated, black=black)
            for cursor in self._cursors:
                cursor.waiting.append(self._after_overrun(cursor, item))
            self._changed.notify_all()
            if self.lossless and not self.drawn_since:
                self._changed.wait_for(lambda: self.stopping or all(len(c.waiting) < AHEAD for c in self._cursors))

    def _after_overrun(self, cursor: Cursor, item: Captured) -> Captured:
        room = MOST if self.lossless or not isinstance(item, Samples) else LARGEST // max(1, item.values.nbytes)
        if len(cursor.waiting) < min(MOST, room):
            return item
        cursor.dropped += len(cursor.waiting)
        cursor.waiting.clear()
        return replace(item, gap=True) if isinstance(item, Samples) else item


def make_feed(plan: SourcePlan) -> Feed:
    """The feed of a source: the newest picture, every stretch of a signal and every line, or what a pipeline found."""
    if plan.parent is not None:
        return CropsFeed(plan)
    return Feed(plan) if plan.gives == "image" else Stream(plan)
