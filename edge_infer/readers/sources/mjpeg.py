"""Parse complete pictures from a ``multipart/x-mixed-replace`` body (Motion JPEG over HTTP), even a damaged one."""

from __future__ import annotations

import re
from typing import Final

MOST_PICTURE: Final = 16 << 20
MOST_HEADER: Final = 8192
"""Limits of a part and of its header in bytes; longer ones are skipped."""
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
"""Some cameras end the lines of a part's header with a line feed alone."""
_LENGTH: Final = re.compile(rb"^content-length:\s*(\d{1,9})\s*$", re.IGNORECASE | re.MULTILINE)


class MjpegParser:
    """Parses bytes in pieces of any size and finds the next boundary after invalid data.

    A part ends after its Content-Length or, if that is missing or the part was cut, at the next boundary. `broken`
    counts parts that are no complete JPEG file.
    """

    def __init__(self, boundary: str) -> None:
        self.broken = 0
        # Some cameras include the two dashes before each boundary in the header's boundary parameter, others do not.
        self._delimiter = b"--" + boundary.strip('" ').removeprefix("--").encode("latin-1", "replace")
        self._buffer = bytearray()
        self._inside = False
        self._length: int | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pictures that are now complete, oldest first."""
        self._buffer += data
        found: list[bytes] = []
        while (part := self._next()) is not None:
            body = part.rstrip(b"\r\n\0")
            if body.startswith(b"\xff\xd8") and body.endswith(b"\xff\xd9"):
                found.append(body)
            else:
                self.broken += 1
        return found

    def _next(self) -> bytes | None:
        """Return the next part, complete or not; None when more bytes are needed."""
        while not self._inside:
            if not self._enter():
                return None
        wanted = self._length
        end = self._buffer.find(self._delimiter)
        if wanted is not None and len(self._buffer) >= wanted and not 0 <= end < wanted:
            end = wanted
        if end < 0 and len(self._buffer) <= MOST_PICTURE:
            return None
        part = bytes(self._buffer[: max(end, 0)])
        del self._buffer[: len(part) if end >= 0 else len(self._buffer)]
        self._inside = False
        return part

    def _enter(self) -> bool:
        """Skip to the end of the next part's header; return False when more bytes are needed."""
        buffer = self._buffer
        start = buffer.find(self._delimiter)
        if start < 0:
            del buffer[: max(0, len(buffer) - len(self._delimiter))]
            return False
        del buffer[:start]
        end = _HEADER_END.search(buffer, 0, MOST_HEADER)
        if end is None:
            if len(buffer) < MOST_HEADER:
                return False
            del buffer[: len(self._delimiter)]  # no header: look for another boundary
            return True
        length = _LENGTH.search(bytes(buffer[: end.start()]).replace(b"\r", b""))
        self._length = int(length.group(1)) if length and int(length.group(1)) <= MOST_PICTURE else None
        del buffer[: end.end()]
        self._inside = True
        return True
