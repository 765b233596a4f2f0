"""Samples from a recorded CSV file, or from a pipe into which a program writes them live."""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.byte_input import STDIN, ByteLines, EndOfInputError, is_live, is_pipe, open_input
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.row_gatherer import RowGatherer, TextRows, next_block
from edge_infer.readers.sources.row_parser import HeaderError, Row, RowParser, WordsError, shown

if TYPE_CHECKING:
    from typing_extensions import Self

STRETCH: Final = 0.1
"""Length of a block of a recording in seconds; each block has at least one row."""
HOPELESS: Final = 1000
"""Number of consecutive unusable lines after which the file is rejected."""


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """``columns`` are names if the file has a header, otherwise positions; ``rate`` is rows a second."""

    file: str
    rate: float
    columns: tuple[str, ...] = ()
    loop: bool = False
    realtime: bool = True

    def __post_init__(self) -> None:
        if self.loop and (self.file == STDIN or is_pipe(self.file)):
            raise ValueError("loop is for files only; a pipe cannot start again")


class CsvSource(Closing):
    """Rows of numbers. An unusable row is dropped, counted in ``faults``, and marked as a gap."""

    gives: ClassVar[Gives] = "samples"
    noisy: ClassVar[bool] = False
    network: bool = False
    patience: ClassVar[float] = math.inf  # a pipe may be silent; the wait in select cannot hang
    Options = CsvOptions

    def __init__(self, options: CsvOptions) -> None:
        self.live = is_live(options.file)
        self.lossless = not self.live and not options.realtime
        self.holds_writer = self.live
        self.stdin = options.file == STDIN
        self.faults = Faults()
        self.values = 0
        self._options = options
        self._closed = threading.Event()
        self._fd = -1
        self._parser = RowParser()
        self._lines = ByteLines(-1)
        self._gatherer = RowGatherer(options.rate)
        self._gap = True
        self._due = 0.0
        self._rows = 0
        self._left_out = 0  # unusable rows before the next row
        self._empty = 0  # empty lines since the last row
        self._kept: Row | None = None  # the row after empty lines

    def __enter__(self) -> Self:
        self._fd = open_input(self._options.file)
        self._closed.clear()
        self._parser = RowParser(self._options.columns)
        self._lines = ByteLines(self._fd, blank=not self.live, path="" if self.stdin else self._options.file)
        self._gatherer = RowGatherer(self._options.rate)
        self._gap, self._rows, self._due = True, 0, time.monotonic()
        self._left_out, self._empty, self._kept = 0, 0, None
        return self

    def read(self) -> Block | None:
        """Return the next 0.1 s of a recording, when it is due, or the rows from a pipe; None at the end."""
        try:
            return self._arrived() if self.live else self._recorded()
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{self._options.file} cannot be read: {error.strerror}") from error

    def check(self) -> None:
        """Check that the beginning of the file has the columns; raises `SourceError`."""
        self.faults = Faults(quiet=True)  # the raised error is enough
        with self:
            try:
                while (row := self._next_row()) is None:
                    pass
                self.values = len(row)
            except EndOfInputError as error:
                raise self._useless() from error

    @property
    def away(self) -> str:
        """The reason why programs cannot find the pipe that this source still reads; empty if they can."""
        return self._lines.away

    def finish(self) -> None:
        """Take no more rows from the pipe; `read` returns those taken before, and then None."""
        self._lines.finish()

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._closed.set()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _arrived(self) -> Block | None:
        self._gatherer.resume()
        try:
            return next_block(TextRows(self._lines, self._parser), self._gatherer, self.faults)
        except EndOfInputError:
            return self._gatherer.take()
        finally:
            self._gatherer.leave()

    def _recorded(self) -> Block | None:
        wanted = max(1, min(4096, round(self._options.rate * STRETCH)))
        rows: list[Row] = []
        left_out = 0
        gap, self._gap = self._gap, False
        while len(rows) < wanted:
            try:
                row = self._next_row()
            except EndOfInputError:
                if not self._start_over():
                    break
                row = None
            if row is not None:
                left_out, self._left_out = left_out + self._left_out, 0
                rows.append(row)
            elif rows:
                self._gap = True  # the next rows do not continue these
                break
            else:
                gap = True
        if not rows or not self._wait(left_out + len(rows)):
            return None
        values = np.array(rows, np.float32)
        return Block(values, self._options.rate, time.time(), time.monotonic(), gap, left_out)

    def _next_row(self) -> Row | None:
        """Return the next row, or None for an unusable row; raises `SourceError` after too many unusable rows.

        After the first row, every unusable line counts as an unusable row, even a line of words, because at a fixed
        rate each line stands for one sample time. For the same reason an empty line between rows of one column counts.
        Other empty lines are ignored.
        """
        if (kept := self._kept) is not None:
            self._kept = None
            return kept
        while not self._closed.is_set():
            try:
                line = self._lines.next()
                assert line is not None  # without a deadline it waits
                if not line.strip():
                    self._empty += self._rows > 0
                    continue
                found = self._parser.rows(line.decode("utf-8", "replace"))
            except HeaderError as error:
                raise SourceError(f"{self._options.file}: {error}") from error
            except ValueError as error:
                self.faults.note(str(error))
                if self.faults.since_good >= HOPELESS:
                    raise self._useless() from error
                if isinstance(error, WordsError) and not self._rows:
                    continue
                self._left_out += 1
                return None
            if found:
                self.faults.good()
                self._rows += 1
                empty, self._empty = self._empty if self._parser.cells == 1 else 0, 0
                if not empty:
                    return found[0]
                self.faults.note("an empty line, which is a row without a value", empty)
                self._left_out, self._kept = self._left_out + empty, found[0]
                return None
        raise EndOfInputError

    def _start_over(self) -> bool:
        """Go back to the start of a file with ``loop``; return False if reading ends here."""
        if not self._rows and not self._closed.is_set():
            raise self._useless()
        if not self._options.loop or self._closed.is_set():
            return False
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._lines = ByteLines(self._fd, blank=True)
        self._empty = 0
        return True

    def _useless(self) -> SourceError:
        why = self.faults.last or "it is empty"
        if not self.faults.last and self._parser.header is not None:
            why = f"it has the header {shown(', '.join(self._parser.header))} and no rows"
        if why.endswith(", not a number"):
            why += "; every column must be numbers (remove this one, or list the others in `columns` of the source)"
        if _is_utf16(os.pread(self._fd, 64, 0)):
            why = "its encoding is UTF-16; save it as UTF-8"
        return SourceError(f"{self._options.file} has no usable row of numbers: {why}")

    def _wait(self, rows: int) -> bool:
        """Wait for the duration of the rows; return False if closed in the meantime."""
        if not self._options.realtime:
            return True
        self._due = max(self._due, time.monotonic() - 1.0) + rows / self._options.rate
        return not self._closed.wait(max(0.0, self._due - time.monotonic()))


def _is_utf16(head: bytes) -> bool:
    """Return whether a text that begins with ``head`` is UTF-16: it has a byte order mark, or every other byte is 0."""
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return marked or (len(head) >= 4 and not (any(head[1::2]) and any(head[::2])) and any(head))
