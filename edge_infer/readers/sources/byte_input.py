"""Reads lines from a file descriptor that may be silent for hours: a pipe, a terminal, a file."""

from __future__ import annotations

import errno
import math
import os
import select
import stat
import time
from collections import deque
from typing import Final

from edge_infer.errors import SourceError
from edge_infer.readers.sources import remedy_for

CHUNK: Final = 1 << 12
"""Bytes read at once. A reader does not read ahead, because a killed reader loses the data that it has not passed
on."""
LONGEST: Final = 1 << 16
"""Maximum length of a line in bytes; longer lines are dropped."""
LOOK_EVERY: Final = 2.0
"""Seconds between two checks that the path of a pipe still leads to that pipe."""
SILENT: Final = 5.0
"""Seconds of silence after which the source gives up a pipe that another pipe has replaced. Until then, a program may
still be writing into the old pipe."""


class EndOfInputError(EOFError):
    """The other end was closed, and all its data has been read."""


class ByteLines:
    """Lines of ``fd`` without line ends (LF, CR or both); blank lines only with ``blank``. The caller closes ``fd``.

    With ``patience``, a line that stays incomplete for this many seconds, or until the end, counts as cut off. The line
    is dropped together with the data up to the next line end, which may be its rest.

    ``path`` is the path of a named pipe. After another pipe has taken this path, no program can open the old pipe any
    more. While the path leads to no pipe, ``away`` holds the reason. The old pipe is still read, because a program may
    have it open.
    """

    def __init__(self, fd: int, patience: float = math.inf, *, blank: bool = False, path: str = "") -> None:
        self.away = ""
        self._fd = fd
        self._path = path if path and stat.S_ISFIFO(os.fstat(fd).st_mode) else ""
        self._look_at = 0.0
        self._replaced = False
        self._blank = blank
        self._patience = patience
        self._ready: deque[bytes | ValueError] = deque()
        self._part = b""
        self._after_cr = False
        self._overlong = False
        self._unheard = False
        self._heard = 0.0
        self._ended = False

    def next(self, deadline: float = math.inf) -> bytes | None:
        """Return the next line; wait until ``deadline`` (monotonic clock). None if no line arrives by then.

        Raises ValueError in place of a dropped line, `EndOfInputError` after the last line, and OSError if the device
        is gone, or another pipe has taken its place.
        """
        while not self._ready:
            if self._ended:
                raise EndOfInputError
            stale = self._heard + self._patience if self._part or self._unheard else math.inf
            if not wait_readable(self._fd, min(deadline, stale, self._look())):
                if self._replaced and time.monotonic() - self._heard >= SILENT:
                    raise OSError(errno.ESTALE, "another pipe has taken its place")
                if time.monotonic() >= stale:
                    self._fall_silent()
                if self._ready:
                    break
                if time.monotonic() >= deadline:
                    return None
                continue
            self._feed(os.read(self._fd, CHUNK))
        line = self._ready.popleft()
        if isinstance(line, ValueError):
            raise line
        return line

    def finish(self) -> None:
        """Stop reading: after the lines that are complete by now, the input counts as ended."""
        self._ended = True

    def skip_first(self, *, unless_silent: bool = False) -> None:
        """Skip everything up to the first line end, which is the rest of a line that began earlier.

        With ``unless_silent``, skip nothing if the first data arrives only after ``patience``, because a line that
        stays incomplete for so long counts as cut off.
        """
        self._overlong, self._unheard = True, unless_silent
        self._heard = time.monotonic()

    def _look(self) -> float:
        """Check the path of a pipe if a check is due; return the monotonic time of the next check."""
        if not self._path:
            return math.inf
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_EVERY
            try:
                found = os.stat(self._path)  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                self._replaced, self.away = False, missing(self._path)
            except OSError:
                pass  # this user may no longer enter the folder, which says nothing about the pipe
            else:
                self._compare(found)
        return self._look_at

    def _compare(self, found: os.stat_result) -> None:
        """Set ``away`` and ``_replaced`` according to ``found``, the status of the file at the path."""
        if not stat.S_ISFIFO(found.st_mode):
            self._replaced, self.away = False, no_pipe(self._path, found.st_mode)
        elif not os.path.samestat(found, os.fstat(self._fd)):
            self._replaced = True  # `away` stays until this pipe is given up
        else:
            self._replaced, self.away = False, ""

    def _feed(self, data: bytes) -> None:
        self._heard, self._unheard = time.monotonic(), False
        if not data:
            self._ended = True
            if self._part and self._patience < math.inf:
                self._cut_off()
            data = b"\n"
        elif self._after_cr:
            data = data.removeprefix(b"\n")  # this LF belongs to the CR before it
        self._after_cr = data.endswith(b"\r")
        if not data:
            return
        pieces = (self._part + data).splitlines(keepends=True)
        self._part = b"" if pieces[-1].endswith((b"\n", b"\r")) else pieces.pop()
        for piece in pieces:
            line = piece.rstrip(b"\r\n")
            if self._overlong:
                self._overlong = False
            elif len(line) > LONGEST:
                self._ready.append(_too_long())
            elif self._blank or line.strip():
                self._ready.append(line)
        if len(self._part) > LONGEST:
            if not self._overlong:
                self._ready.append(_too_long())
            self._part, self._overlong = b"", True

    def _fall_silent(self) -> None:
        """Give up an incomplete line; without one, what follows begins a line."""
        if self._part:
            self._cut_off()
        else:
            self._overlong = self._unheard = False

    def _cut_off(self) -> None:
        if not self._overlong:
            self._ready.append(ValueError(f"an incomplete line of {len(self._part)} bytes"))
        self._part, self._overlong = b"", True


def _too_long() -> ValueError:
    return ValueError(f"a line of more than {LONGEST} bytes")


def wait_readable(fd: int, deadline: float) -> bool:
    """Wait for data until ``deadline`` (monotonic clock); return whether data is available."""
    timeout = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
    return bool(select.select([fd], [], [], timeout)[0])


# Open the ``file`` of a source: a file, a named pipe, or ``-`` for the daemon's standard input.

STDIN: Final = "-"


def missing(file: str) -> str:
    """Return the error for a file that does not exist."""
    return f"{file} does not exist; create a named pipe with `mkfifo {file}`"


def no_pipe(file: str, mode: int = stat.S_IFREG) -> str:
    """Return the error for a file of this ``mode`` at a path where a named pipe is expected."""
    remedy = f"remove it and create a named pipe with `mkfifo {file}`"
    if stat.S_ISREG(mode):
        return f"{file} is a regular file, not a named pipe: {remedy}, or read the file with `edge-infer reload`"
    return f"{file} is not a named pipe: {remedy}"


def is_live(file: str) -> bool:
    """Return whether reading may have to wait: for a pipe, a device, standard input, or a missing file."""
    try:
        return file == STDIN or not stat.S_ISREG(os.stat(file).st_mode)  # noqa: PTH116 - follows links, as open does
    except OSError:
        return True


def is_pipe(file: str) -> bool:
    """Return whether the file is a named pipe, or a character device."""
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def open_input(file: str) -> int:
    """Return a new open descriptor; raises `SourceError`.

    A named pipe is also opened for writing. Otherwise reading would end each time the program at its other end exits.
    """
    if file == STDIN:
        return os.dup(0)
    try:
        pipe = stat.S_ISFIFO(os.stat(file).st_mode)  # noqa: PTH116
        return os.open(file, (os.O_RDWR if pipe else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise SourceError(missing(file)) from error
    except OSError as error:
        raise SourceError(f"{file} cannot be opened: {error.strerror}{remedy_for(error)}") from error
