"""Output of a child on descriptors 1 and 2: one pipe, filtered, limited and forwarded to our standard error.

An attacker's code in a child may write anything there, for example a picture in base64. So the supervisor
forwards only printable characters, limits the bytes per minute, and logs how many it has dropped. Native libraries and
programs that the child starts write into the same pipe.

Writes to the pipe block: with a non-blocking pipe a child would lose its own log lines whenever the supervisor is busy.
If the supervisor is stopped, its children block once 64 KiB are full; a stopped supervisor could not watch or restart
them anyway.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from contextlib import suppress
from typing import Final

from edge_infer.platform.closing import Closing
from edge_infer.platform.logs import LONGEST_LINE, printable
from edge_infer.platform.rate_limits import TokenBucket

log = logging.getLogger(__name__)

MAX_BURST_BYTES: Final = 64 << 10
MAX_BYTES_PER_MINUTE: Final = 4 << 10
MAX_DEBUG_BYTES_PER_MINUTE: Final = 64 << 10
"""Limits of the output that is forwarded for one child, over all its restarts: a burst for its start and its end, then
a rate per minute. A child writes less than 1 KiB in its first minute and nothing while all is well. At level debug, a
source that cannot be opened writes 2 KiB per minute, or 40 KiB if each failure has a traceback."""
MAX_LAST_WORDS: Final = 2000
MAX_LAST_BURST, LAST_PER_MINUTE = 4 * MAX_LAST_WORDS, MAX_LAST_WORDS
"""Bytes of the dropped output that are forwarded when the child ends, because they may contain the cause."""
MAX_EXCERPT: Final = 100
"""Maximum number of characters of a text of the child in one log line of the supervisor."""
_REPEATED: Final = 4
"""Number of log lines that may repeat an excerpt: about the kill, the restart, and what follows for a pipeline."""
MAX_READ_BYTES: Final = 64 << 10
"""Maximum bytes read in one turn."""
REST: Final = 0.05
"""Seconds during which the supervisor does not read from a child that writes too much. The full pipe then blocks the
child."""
TELL_EVERY: Final = 60.0
_LEAST: Final = 80
"""Minimum cost of a line in bytes. If less is left of the limit, no line is examined."""
_OWN: Final = re.compile(r"\d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)", re.DOTALL)
_LEVEL: Final = re.compile(r"<([2-7])>(.*)", re.DOTALL)


class Output(Closing):
    """The output of one child, over all of its runs. No method blocks on the child."""

    def __init__(self, name: str, *, verbose: bool = False) -> None:
        """Set ``verbose`` if the child logs at level debug."""
        self._name = name
        self._fd = -1
        self._allowance = TokenBucket(MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE / 60)
        self.allow(verbose=verbose)
        self._last_words = TokenBucket(MAX_LAST_BURST, LAST_PER_MINUTE / 60)
        self._journal = "JOURNAL_STREAM" in os.environ
        self._line = bytearray()  # start of an unfinished line
        self._tail = bytearray()  # end of the bytes dropped since the last forwarded line
        self._rest_until = 0.0
        self._told_at = time.monotonic()
        self.dropped = 0
        """Number of dropped bytes since the last log line about them."""

    def allow(self, *, verbose: bool) -> None:
        """Set the limit for a child that logs at level debug (``verbose``) or not.

        Bytes that already count towards the limit still count.
        """
        self._per_minute = MAX_DEBUG_BYTES_PER_MINUTE if verbose else MAX_BYTES_PER_MINUTE
        self._allowance.set_rate(self._per_minute / 60)

    def open(self) -> int:
        """Return the write end for a child that is about to start; the caller closes it. Raises `OSError`."""
        self.close()
        self._fd, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        return theirs

    def files(self) -> list[int]:
        """Return the descriptor to wait on; none while the output of the child is paused."""
        return [self._fd] if self._fd >= 0 and time.monotonic() >= self._rest_until else []

    def due(self) -> float:
        """Return the latest monotonic time at which to call `read`."""
        return self._rest_until if self._fd >= 0 and self._rest_until > time.monotonic() else time.monotonic() + 1.0

    def read(self) -> None:
        """Forward the available output, at most `MAX_READ_BYTES`."""
        if self.files():
            before = self.dropped
            self._read()
            if self.dropped > before:
                self._rest_until = time.monotonic() + REST
        if self.dropped and time.monotonic() >= self._told_at + TELL_EVERY:
            self._tell()

    def excerpt(self, text: str) -> str:
        """Return the beginning of a text that the child chose, for log lines of the supervisor.

        The text counts towards the limit of the child's output. The result is empty once the limit is used up.
        """
        text = printable(text[:MAX_EXCERPT])
        if self._allowance.take(max(_LEAST, _REPEATED * len(text.encode()))):
            return text
        self.dropped += len(text)
        return ""

    def seconds_to_burst(self) -> float:
        """Return the seconds after which a child that writes nothing has its whole limit again."""
        return max(self._allowance.seconds_to_full(), self._last_words.seconds_to_full())

    def close(self) -> None:
        """Forward the remaining output and the end of the dropped part; may be called twice.

        It does not wait for other processes that hold the write end, such as programs that the child started.
        """
        for _ in range(32):  # this is more than a pipe holds
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
                self._write(self._formed(line[-LONGEST_LINE:]))
        if self.dropped:
            self._tell()

    def _read(self) -> bool:
        """Read once; return whether there was any data."""
        try:
            data = os.read(self._fd, MAX_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:  # the write end is closed everywhere
            os.close(self._fd)
            self._fd = -1
            return False
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            if self._allowance.left() < _LEAST:  # the line is not examined, so that a flood costs nothing
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
        if self._allowance.take(max(_LEAST, len(text.encode()))):  # an empty line has a cost as well
            self._tail.clear()
            self._write(text)
        else:
            self._drop(line + b"\n")

    def _drop(self, data: bytes) -> None:
        self.dropped += len(data)
        self._tail += data[-MAX_LAST_WORDS:]
        del self._tail[:-MAX_LAST_WORDS]

    def _formed(self, line: bytes) -> str:
        """Return the line as it is logged; empty for an empty line.

        The line always carries the name of its child, so a child cannot imitate the supervisor. The child chooses the
        level, except the levels that go to every terminal of the system.
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
        with suppress(OSError, ValueError):  # the reader of the log is gone: continue, as for our own log lines
            sys.stderr.write(text)
            sys.stderr.flush()

    def _tell(self) -> None:
        log.warning(
            "%s wrote too much output: %d bytes dropped (limits: %d bytes at once, %d bytes a minute, %d bytes a line)",
            self._name,
            self.dropped,
            MAX_BURST_BYTES,
            self._per_minute,
            LONGEST_LINE,
        )
        self.dropped, self._told_at = 0, time.monotonic()
