"""Single rows, as they arrive, put together to blocks of a signal."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from edge_infer.readers.sources import Block
from edge_infer.readers.sources.bytelines import ByteLines
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.rows import Row, RowParser

STRETCH: Final = 0.08
"""Seconds of a signal that are handed on together; of a slow one every row at once."""
SPAN: Final = 1.0
"""Seconds that rows have to have come for before their rate is known; what came first waits no longer."""
FINE: Final = 1 / 128
"""Seconds between two arrivals that are remembered: so few reach back for `SPAN` however fast the rows come."""
CHANGE: Final = 0.1
"""A rate that differs by more than this share is another one; less is jitter."""
MOST: Final = 4096
"""Rows that are handed on at once, however fast they come."""
PAUSE: Final = 10
"""So many intervals, and at least `SPAN` seconds, without a row are a gap."""


class ArrivalRate:
    """How many rows a second come, measured; None until known. It stays as it is until it is clearly another one."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self.supposed = False
        """Whether nothing but a beginning tells the rate: then a silence is no pause yet."""
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)  # when, and how many had come before; at most FINE
        self._count = 0

    def add(self, now: float) -> bool:
        """A row came; True when the rate is another one than before."""
        if not self._marks or now - self._marks[-1][0] >= FINE:
            self._marks.append((now, self._count))
        self._count += 1
        begin, before = self._marks[0]
        span = now - begin
        if span < SPAN:
            return False
        found = (self._count - 1 - before) / span
        self.supposed = False
        if self.rate is not None and abs(found - self.rate) <= CHANGE * self.rate:
            return False
        changed, self.rate = self.rate is not None, float(f"{found:.3g}")
        return changed

    def suppose(self, now: float) -> None:
        """What has come so far gets the rate that it came at, even if nothing else ever comes."""
        if self._marks:
            begin, before = self._marks[0]
            self.supposed = True
            self.rate = float(f"{max(self._count - 1 - before, 1) / max(now - begin, FINE):.3g}")

    def forget(self) -> None:
        """After a pause arrivals are counted anew; the rate holds until there is a better one."""
        self._marks.clear()


class Gatherer:
    """Rows in, blocks out. ``rate`` is what the operator says it is; without it that of their arrival."""

    def __init__(self, rate: float | None) -> None:
        self._said = rate
        self._measured = ArrivalRate()
        self._rows: list[Row] = []
        self._whole: deque[Block] = deque()
        self._first = 0.0
        self._last: float | None = None
        self._wall = 0.0
        self._gap = False
        self._left: float | None = None

    @property
    def rate(self) -> float | None:
        """Rows a second, as far as known."""
        return self._said or self._measured.rate

    @property
    def rate_known(self) -> float | None:
        """The same, but for one that a beginning alone tells."""
        return self._said or (None if self._measured.supposed else self._measured.rate)

    def add(self, row: Row, now: float) -> None:
        """One more row, arrived at ``now`` of the monotonic clock."""
        rate = self.rate
        if (
            self._last is not None
            and rate is not None
            and not self._measured.supposed
            and now - self._last > max(PAUSE / rate, SPAN)
        ):
            self.gap()
            self._measured.forget()
        if self._said is None and self._measured.add(now):
            self.gap()
        if not self._rows:
            self._first = now
        self._rows.append(row)
        self._last, self._wall = now, time.time()

    def leave(self) -> None:
        """Nobody reads from now on, until `resume`: the pipelines are busy."""
        self._left = time.monotonic()

    def resume(self) -> None:
        """Reading goes on. The writer had to wait meanwhile, which is no silence of its own."""
        if self._left is not None and self._last is not None:
            self._last += time.monotonic() - self._left
        self._left = None

    def gap(self) -> None:
        """Rows are missing here: what has come so far does not belong to what follows."""
        if self._rows and self.rate is None and self._last is not None:
            self._measured.suppose(max(self._last, self._first + SPAN))
        self._finish()
        self._gap = True

    def due(self, now: float) -> bool:
        """Whether a block is to be handed on now."""
        full = len(self._rows) >= MOST
        if self._rows and self.rate is None and (full or now - self._first >= SPAN):
            self._measured.suppose(now)
        rate = self.rate
        if self._whole or not self._rows or rate is None:
            return bool(self._whole)
        return full or now - self._first >= STRETCH or rate * STRETCH < 1.5

    def due_at(self) -> float:
        """When, on the monotonic clock, a block will be due even if no other row comes."""
        return self._first + (SPAN if self.rate is None else STRETCH) if self._rows else math.inf

    def take(self) -> Block | None:
        """What has come so far, the oldest first; None when there is nothing, or no rate."""
        if not self._whole and self.rate is not None:
            self._finish()
        return self._whole.popleft() if self._whole else None

    def _finish(self) -> None:
        rate = self.rate
        if self._rows and rate is not None and self._last is not None:
            values = np.array(self._rows, np.float32)
            self._whole.append(Block(values, rate, self._wall, self._last, self._gap))
            self._gap = False
        self._rows.clear()


class Rows(Protocol):
    """Where rows come from: `next` waits until ``deadline`` of the monotonic clock for one or a few of them.

    It raises ValueError for what is to be left out, `EndOfInputError` at the end, OSError when the device is gone.
    """

    def next(self, deadline: float) -> Sequence[Row]: ...


class TextRows:
    """Rows out of lines."""

    def __init__(self, lines: ByteLines, parser: RowParser) -> None:
        self._lines = lines
        self._parser = parser

    def next(self, deadline: float) -> Sequence[Row]:
        """The rows of the next line."""
        line = self._lines.next(deadline)
        return () if line is None else self._parser.rows(line.decode("utf-8", "replace"))


def next_block(rows: Rows, gatherer: Gatherer, faults: Faults, limit: float = math.inf) -> Block | None:
    """The next block of rows that arrive now; None after ``limit`` seconds without a row that can be used."""
    end = time.monotonic() + limit
    while not gatherer.due(now := time.monotonic()):
        if now >= end:
            return None
        try:
            found = rows.next(min(gatherer.due_at(), end))
        except ValueError as error:
            faults.note(str(error))
            gatherer.gap()
            continue
        for row in found:
            faults.good()
            gatherer.add(row, now := time.monotonic())
            end = now + limit
    return gatherer.take()
