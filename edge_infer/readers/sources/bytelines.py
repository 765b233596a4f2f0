"""Lines out of a file descriptor that may be silent for hours: a pipe, a terminal, a file."""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from typing import Final

from edge_infer.readers.sources.faults import Faults

CHUNK: Final = 1 << 16
LONGEST: Final = 1 << 16
"""Bytes of a line; what is longer is left out."""


class EndOfInputError(EOFError):
    """The other end was closed, and everything before it has been read."""


class ByteLines:
    """The lines of ``fd``, without their ends (LF, CR or both) and without blank ones. It does not own ``fd``.

    With ``patience``, a line whose rest does not come within so many seconds was cut off. It is left out, and so is
    whatever comes up to the next end of a line: it may be that rest.
    """

    def __init__(self, fd: int, faults: Faults, patience: float = math.inf) -> None:
        self._fd = fd
        self._faults = faults
        self._patience = patience
        self._ready: deque[bytes] = deque()
        self._part = b""
        self._overlong = False
        self._heard = 0.0
        self._ended = False

    def next(self, deadline: float = math.inf) -> bytes | None:
        """The next line, waiting for it until ``deadline`` of the monotonic clock, then None.

        Raises `EndOfInputError` after the last line, OSError when the device is gone.
        """
        while not self._ready:
            if self._ended:
                raise EndOfInputError
            stale = self._heard + self._patience if self._part else math.inf
            if not wait_readable(self._fd, min(deadline, stale)):
                if time.monotonic() >= stale:
                    if not self._overlong:
                        self._faults.note(f"a line of which only {len(self._part)} bytes came")
                    self._part, self._overlong = b"", True
                if time.monotonic() >= deadline:
                    return None
                continue
            self._feed(os.read(self._fd, CHUNK))
        return self._ready.popleft()

    def skip_first(self) -> None:
        """What comes up to the first end of a line is the rest of one that began before."""
        self._overlong = True

    def _feed(self, data: bytes) -> None:
        self._heard = time.monotonic()
        if not data:
            self._ended = True
            data = b"\n"
        pieces = (self._part + data).splitlines(keepends=True)
        self._part = b"" if pieces[-1].endswith((b"\n", b"\r")) else pieces.pop()
        if len(self._part) > LONGEST:
            if not self._overlong:
                self._faults.note(f"a line of more than {LONGEST} bytes")
            self._part, self._overlong = b"", True
        for piece in pieces:
            line = piece.rstrip(b"\r\n")
            if self._overlong:
                self._overlong = False
            elif len(line) > LONGEST:
                self._faults.note(f"a line of more than {LONGEST} bytes")
            elif line.strip():
                self._ready.append(line)


def wait_readable(fd: int, deadline: float) -> bool:
    """Waits until there is something to read, at most until ``deadline`` of the monotonic clock."""
    timeout = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
    return bool(select.select([fd], [], [], timeout)[0])
