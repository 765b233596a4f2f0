"""An encoded picture on its way to a client: the bytes that follow an answer on the control socket.

The picture is a sealed file in the memory of the daemon. No client gets the file, because a client that kept it would
hold memory that counts as the daemon's.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

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
