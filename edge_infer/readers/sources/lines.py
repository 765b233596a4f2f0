"""Lines of text from a pipe, a file or standard input."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Words
from edge_infer.readers.sources.byte_input import STDIN, ByteLines, EndOfInputError, is_live, open_input
from edge_infer.readers.sources.faults import Faults

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class LinesOptions:
    """``file`` is a path, or ``-`` for the daemon's standard input."""

    file: str


class LinesSource(Closing):
    """Lines of text; empty lines are skipped. Invalid UTF-8 in a line is replaced, and counted in ``faults``.

    A pipe never ends, even when its writers exit; a file and standard input do.
    """

    gives: ClassVar[Gives] = "text"
    noisy: ClassVar[bool] = False
    network: bool = False
    patience: ClassVar[float] = math.inf  # it waits in select, which cannot hang
    Options = LinesOptions

    def __init__(self, options: LinesOptions) -> None:
        self.live = is_live(options.file)
        self.lossless = not self.live
        self.holds_writer = self.live
        self.stdin = options.file == STDIN
        self.faults = Faults()
        self._file = options.file
        self._fd = -1
        self._lines: ByteLines | None = None

    def __enter__(self) -> Self:
        self._fd = open_input(self._file)
        self._lines = ByteLines(self._fd, path="" if self.stdin else self._file)
        return self

    def read(self) -> Words | None:
        """Return the next line; None after the last."""
        if self._lines is None:
            raise SourceError(f"{self._file} is not open")
        line = None
        while line is None:
            try:
                line = self._lines.next()
            except EndOfInputError:
                return None
            except ValueError as error:
                self.faults.note(str(error))
            except OSError as error:
                raise SourceError(f"{self._file} cannot be read: {error.strerror}") from error
        text = line.decode("utf-8", "replace").removeprefix("\ufeff")
        if "\ufffd" in text:
            self.faults.note("a line that is not UTF-8 text; its invalid characters were replaced")
        return Words(text, time.time(), time.monotonic())

    @property
    def away(self) -> str:
        """The reason why programs cannot find the pipe that this source still reads; empty if they can."""
        return self._lines.away if self._lines is not None else ""

    def finish(self) -> None:
        """Take no more lines from the pipe; `read` returns those taken before, and then None."""
        if self._lines is not None:
            self._lines.finish()

    def close(self) -> None:
        """Close the file; may be called twice."""
        fd, self._fd, self._lines = self._fd, -1, None
        if fd >= 0:
            os.close(fd)
