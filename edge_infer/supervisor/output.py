"""What a child writes to its descriptors 1 and 2: one pipe, filtered, limited, and passed on to our standard error.

Who runs code of their own in a child may write whatever they like there, a picture in base64 for instance. So the
supervisor passes on printable characters only, so many bytes a minute, and says how much it has dropped. Native
libraries and programs that the child starts write into the same pipe.

The pipe blocks who writes: a child that wrote without waiting would lose its own log lines whenever the supervisor is
busy. A supervisor that is stopped stops its children once 64 KiB are full; nobody would restart or watch them anyway.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from contextlib import suppress
from typing import Final

from edge_infer.allowance import Allowance
from edge_infer.closing import Closing
from edge_infer.logs import LONGEST_LINE, printable

log = logging.getLogger(__name__)

MAX_BURST_BYTES: Final = 64 << 10
MAX_BYTES_PER_MINUTE: Final = 4 << 10
MAX_DEBUG_BYTES_PER_MINUTE: Final = 64 << 10
"""What is passed on of one child: a burst, which its start and its end need, and so many a minute from then on, however
often it is started anew. A child writes less than 1 KiB in its first minute and nothing while all is well; at the level
debug a source that cannot be opened writes 2 KiB a minute, and with a traceback each time 40 KiB."""
MAX_LAST_WORDS: Final = 2000
MAX_LAST_BURST, LAST_PER_MINUTE = 4 * MAX_LAST_WORDS, MAX_LAST_WORDS
"""Bytes of what was dropped that are passed on when the child ends: they may tell why."""
MAX_READ_BYTES: Final = 64 << 10
"""That are read in one turn."""
REST: Final = 0.05
"""Seconds for which one that writes too much is not read: the full pipe holds it up, and not the supervisor."""
TELL_EVERY: Final = 60.0
_LEAST: Final = 80
"""Bytes that every line counts for, and without which none is looked at."""
_OWN: Final = re.compile(r"\d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)", re.DOTALL)
_LEVEL: Final = re.compile(r"<([2-7])>(.*)", re.DOTALL)


class Output(Closing):
    """That of one child over all of its runs. Nothing here waits for it."""

    def __init__(self, name: str, *, verbose: bool = False) -> None:
        """``verbose`` where the child logs at the level debug."""
        self._name = name
        self._fd = -1
        self._per_minute = MAX_DEBUG_BYTES_PER_MINUTE if verbose else MAX_BYTES_PER_MINUTE
        self._allowance = Allowance(MAX_BURST_BYTES, self._per_minute / 60)
        self._last_words = Allowance(MAX_LAST_BURST, LAST_PER_MINUTE / 60)
        self._journal = "JOURNAL_STREAM" in os.environ
        self._line = bytearray()  # the beginning of one that has not ended
        self._tail = bytearray()  # of what was dropped since a line was passed on
        self._rest_until = 0.0
        self._told_at = time.monotonic()
        self.dropped = 0
        """Bytes that were not passed on, since that was told last."""

    def open(self) -> int:
        """The end for a child that is about to be started; the caller closes it. Raises `OSError`."""
        self.close()
        self._fd, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        return theirs

    def files(self) -> list[int]:
        """The descriptor to wait on, unless the child has to wait."""
        return [self._fd] if self._fd >= 0 and time.monotonic() >= self._rest_until else []

    def due(self) -> float:
        """When `read` has to be called at the latest, on the monotonic clock."""
        return self._rest_until if self._fd >= 0 and self._rest_until > time.monotonic() else time.monotonic() + 1.0

    def read(self) -> None:
        """Passes on what is there, `MAX_READ_BYTES` at most."""
        if self.files():
            before = self.dropped
            self._read()
            if self.dropped > before:
                self._rest_until = time.monotonic() + REST
        if self.dropped and time.monotonic() >= self._told_at + TELL_EVERY:
            self._tell()

    def close(self) -> None:
        """Passes on what is left, and the last words of what was dropped; may be called twice.

        Whoever else holds the other end, a program that the child has started, is not waited for.
        """
        for _ in range(32):  # more than a pipe holds
            if self._fd < 0 or not self._read():
                break
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._line:
            self._end_line()
        tail, self._tail = bytes(self._tail[-MAX_LAST_WORDS:]), bytearray()
        if tail and self._last_words.take(len(tail)):
            for line in tail.split(b"\n"):
                self._write(self._formed(line))
        if self.dropped:
            self._tell()

    def _read(self) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self._fd, MAX_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:  # nobody holds the other end
            os.close(self._fd)
            self._fd = -1
            return False
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            if self._allowance.left() < _LEAST:  # not looked at, so that a flood costs nothing
                self._drop(bytes(self._line) + data[start:])
                self._line.clear()
                return
            end = data.find(b"\n", start)
            part = data[start : end if end >= 0 else len(data)]
            room = LONGEST_LINE - len(self._line)
            self._line += part[:room]
            self.dropped += max(0, len(part) - room)
            if end < 0:
                return
            self._end_line()
            start = end + 1

    def _end_line(self) -> None:
        line, text = bytes(self._line), self._formed(bytes(self._line))
        self._line.clear()
        if self._allowance.take(max(_LEAST, len(text.encode()))):  # empty ones cost something, too
            self._tail.clear()
            self._write(text)
        else:
            self._drop(line + b"\n")

    def _drop(self, data: bytes) -> None:
        self.dropped += len(data)
        self._tail += data[-MAX_LAST_WORDS:]
        del self._tail[:-MAX_LAST_WORDS]

    def _formed(self, line: bytes) -> str:
        """The line as it goes into the log, or nothing for an empty one.

        It names this child whatever it says: nobody passes for the supervisor. A child chooses among the levels, but
        not those that go to every terminal of the system.
        """
        text = printable(line.decode("utf-8", "replace").rstrip())
        if not text:
            return ""
        level, own = "6", text
        if self._journal and (found := _LEVEL.fullmatch(text)):
            level, own = found[1], found[2]
        elif not self._journal and (found := _OWN.fullmatch(text)):
            own = found[1]
        if not own.startswith(f"{self._name}: "):
            own, text = f"{self._name}: {own}", f"{self._name}: {text}"
        return f"<{level}>{own}\n" if self._journal else f"{text}\n"

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # who reads our log is gone: we go on, as our own lines do
            sys.stderr.write(text)
            sys.stderr.flush()

    def _tell(self) -> None:
        log.warning(
            "%s output: %d bytes dropped (%d at once and %d bytes a minute are passed on, lines of %d)",
            self._name,
            self.dropped,
            MAX_BURST_BYTES,
            self._per_minute,
            LONGEST_LINE,
        )
        self.dropped, self._told_at = 0, time.monotonic()
