"""Gather single rows, as they arrive, into blocks of a signal."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from edge_infer.errors import EdgeInferError
from edge_infer.platform.clock import ConvertedClock
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.byte_input import ByteLines, EndOfInputError
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.row_parser import Row, RowParser, WordsError

STRETCH: Final = 0.08
"""Length of a block in seconds; rows of a slow signal are passed on at once."""
SPAN: Final = 1.0
"""Seconds of rows needed to measure their rate; the first rows are not held back longer than this."""
FINE: Final = 1 / 128
"""Minimum seconds between two stored arrival times. The limited number of stored times then covers `SPAN` however fast
the rows arrive."""
CHANGE: Final = 0.1
"""Share by which a rate must differ to count as changed; less is jitter."""
MOST: Final = 4096
"""Limit of rows in a block, however fast they arrive."""
PAUSE: Final = 10
"""Number of row intervals without a row that count as a gap. A gap is at least `SPAN` seconds long."""


class ArrivalRate:
    """Measures the arrival rate in rows a second. ``rate`` is None until known, and ignores changes up to `CHANGE`."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self.supposed = False
        """Whether the rate is only a guess from the first rows; silence then does not count as a gap."""
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)  # time, and rows before it; at least FINE apart
        self._count = 0

    def add(self, now: float) -> bool:
        """Count a row; return True when the rate has changed."""
        if not self._marks or now - self._marks[-1][0] >= FINE:
            self._marks.append((now, self._count))
        self._count += 1
        begin, before = self._marks[0]
        span = now - begin
        if span < SPAN:
            if self.rate is not None and self._count - 1 - before > self.rate * (span + SPAN) + 1:
                self.rate, self.supposed = None, False  # too many rows for the old rate: measure again
            return False
        found = (self._count - 1 - before) / span
        self.supposed = False
        if self.rate is not None and abs(found - self.rate) <= CHANGE * self.rate:
            return False
        changed, self.rate = self.rate is not None, float(f"{found:.3g}")
        return changed

    def suppose(self, now: float) -> None:
        """Guess the rate from the rows so far, in case no more arrive."""
        if self._marks:
            begin, before = self._marks[0]
            self.supposed = True
            self.rate = float(f"{max(self._count - 1 - before, 1) / max(now - begin, FINE):.3g}")

    def forget(self) -> None:
        """Restart the measurement after a pause; the old rate stays until a new one is measured or rows come faster."""
        self._marks.clear()


class RowGatherer:
    """Gathers rows into blocks. ``rate`` is the configured rate; None for the measured rate of arrival."""

    def __init__(self, rate: float | None, clock: ConvertedClock | None = None) -> None:
        self._said = rate
        self._clock = clock or ConvertedClock(time.time, time.monotonic)
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
        """Return the rate in rows a second; None if unknown."""
        return self._said or self._measured.rate

    @property
    def rate_known(self) -> float | None:
        """Return the rate, or None if it is only a guess from the first rows."""
        return self._said or (None if self._measured.supposed else self._measured.rate)

    def add(self, row: Row, now: float) -> None:
        """Add a row that arrived at ``now`` of the monotonic clock."""
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
        self._last, self._wall = now, self._clock.at(now)

    def leave(self) -> None:
        """Note that reading stops until `resume`, because the pipelines are busy."""
        self._left = time.monotonic()

    def resume(self) -> None:
        """Note that reading continues. The sensor was not silent in the meantime, because its writer had to wait."""
        if self._left is not None and self._last is not None:
            self._last += time.monotonic() - self._left
        self._left = None

    def gap(self) -> None:
        """Mark a gap: the rows so far do not connect to the next ones."""
        if self._rows and self.rate is None and self._last is not None:
            self._measured.suppose(max(self._last, self._first + SPAN))
        self._finish()
        self._gap = True

    def due(self, now: float) -> bool:
        """Return whether a block is due now."""
        full = len(self._rows) >= MOST
        if self._rows and self.rate is None and (full or now - self._first >= SPAN):
            self._measured.suppose(now)
        rate = self.rate
        if self._whole or not self._rows or rate is None:
            return bool(self._whole)
        return full or now - self._first >= STRETCH or rate * STRETCH < 1.5

    def due_at(self) -> float:
        """Return the monotonic time at which a block will be due even if no other row arrives."""
        return self._first + (SPAN if self.rate is None else STRETCH) if self._rows else math.inf

    def take(self) -> Block | None:
        """Return the oldest block; None when there are no rows, or the rate is unknown."""
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
    """A source of rows: `next` waits until ``deadline`` of the monotonic clock for one or a few rows.

    A ValueError stands in the place of each unusable row. `next` raises ValueError for dropped input, `EndOfInputError`
    at the end, and OSError when the device is gone.
    """

    def next(self, deadline: float) -> Sequence[Row | ValueError]:
        """Return the next rows; empty if no row arrived before the deadline."""


class TextRows:
    """Rows parsed from lines of text."""

    def __init__(self, lines: ByteLines, parser: RowParser) -> None:
        self._lines = lines
        self._parser = parser

    def next(self, deadline: float) -> Sequence[Row | ValueError]:
        """Return the rows of the next line."""
        line = self._lines.next(deadline)
        return () if line is None else self._parser.each(line.decode("utf-8", "replace"))


def next_block(rows: Rows, gatherer: RowGatherer, faults: Faults, limit: float = math.inf) -> Block | None:
    """Return the next block of arriving rows; None after ``limit`` seconds without a usable row."""
    end = time.monotonic() + limit
    while not gatherer.due(now := time.monotonic()):
        if now >= end:
            return None
        try:
            found = rows.next(min(gatherer.due_at(), end))
        except ValueError as error:
            found = (error,)
        except (EndOfInputError, OSError, EdgeInferError):
            gatherer.gap()
            if (block := gatherer.take()) is None:
                raise
            return block  # the rows that came before; the next call raises the error again
        for row in found:
            if isinstance(row, ValueError):
                faults.note(str(row))
                if not isinstance(row, WordsError) or row.instead:
                    gatherer.gap()
                continue
            faults.good()
            gatherer.add(row, now := time.monotonic())
            end = now + limit
    return gatherer.take()
