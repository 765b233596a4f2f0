"""Files on the control socket: those that clients have sent, and pictures on their way to clients."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from edge_infer.platform.rate_limits import LogThrottle

# Closes files that clients have sent, in threads, because closing such a file may block for ever.

log = logging.getLogger(__name__)

MAX_CLOSERS: Final = 8
"""Maximum number of threads that may block while closing a file."""


class FileCloser:
    """Closes files in the order in which they arrive. ``full``: as many files as `most` are still open."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._waiting: deque[int] = deque()
        self._unclosed = self._threads = 0
        self._throttle = LogThrottle()

    @property
    def full(self) -> bool:
        """Whether no further file should be taken."""
        return self._unclosed >= self.most

    def close(self, files: Iterable[int]) -> None:
        """Close files without waiting. If no thread is free, the files stay open until one is free."""
        with self._lock:
            before = len(self._waiting)
            self._waiting.extend(files)
            self._unclosed += len(self._waiting) - before
            starts = bool(self._waiting) and self._threads < MAX_CLOSERS
            self._threads += starts
        if starts:
            try:
                threading.Thread(target=self._run, daemon=True).start()
            except RuntimeError:  # the system allows no more threads
                with self._lock:
                    self._threads -= 1
        if self.full and self._throttle.due("full"):
            log.warning(
                "control socket: %d files of clients stay open because closing them hangs; the daemon accepts no more "
                "files (logged once a minute)",
                self._unclosed,
            )

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                file = self._waiting.popleft()
            _close_file(file)
            with self._lock:
                self._unclosed -= 1


def _close_file(file: int) -> None:
    """Close a file of a client. A client can set a socket so that closing its last descriptor blocks for hours."""
    with suppress(OSError):  # not a socket
        passed = socket.socket(fileno=file)
        try:
            passed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        finally:
            passed.detach()
    with suppress(OSError):  # the file system reports an error, but the file is closed
        os.close(file)


# An encoded picture on its way to a client: the bytes that follow an answer on the control socket.
#
# The picture is a sealed file in the memory of the daemon. No client gets the file, because a client that kept it
# would hold memory that counts as the daemon's.

MAX_PICTURE_BYTES: Final = 1 << 27
MOST_PARTS: Final = 16
"""Maximum number of parts that are sent before other work continues; one part is what the kernel accepts at once."""


class SentPicture:
    """A picture of ``size`` bytes in the file, which belongs to this object until `close`."""

    def __init__(self, file: int, size: int) -> None:
        self.size = size
        self._file = file
        self._at = 0

    @property
    def left(self) -> int:
        """Number of bytes that the kernel has not accepted yet."""
        return self.size - self._at

    @property
    def closed(self) -> bool:
        """Whether the memory of the picture is free again."""
        return self._file < 0

    def send(self, connection: socket.socket) -> None:
        """Send as much as a non-blocking connection accepts; raises `BlockingIOError` or `OSError`.

        The kernel copies the bytes: this process reads no picture.
        """
        for _ in range(MOST_PARTS):
            if not self.left:
                return
            count = os.sendfile(connection.fileno(), self._file, self._at, self.left)
            if count == 0:
                raise OSError(errno.EIO, "the picture is shorter than its size")
            self._at += count

    def close(self) -> None:
        """Free the memory; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
