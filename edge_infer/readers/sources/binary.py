"""Parse binary frames from a stream that may start, break off or be corrupted anywhere."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Sequence
from typing import Final

from edge_infer.readers.sources.bytelines import CHUNK, EndOfInputError, wait_readable
from edge_infer.readers.sources.rows import Row, is_usable

STALE: Final = 1.0
"""Seconds of silence after which an incomplete frame is given up."""


class BinaryRows:
    """Rows from frames of ``header`` followed by bytes in ``layout``. It does not own ``fd``.

    The header may occur among the values. While frame boundaries are unknown, a frame counts only if another header, or
    silence, follows it.
    """

    def __init__(self, fd: int, header: bytes, layout: struct.Struct) -> None:
        self._fd = fd
        self._header = header
        self._layout = layout
        self._size = len(header) + layout.size
        self._bytes = bytearray()
        self._heard = 0.0
        self._known = False
        self._before = False

    def next(self, deadline: float) -> Sequence[Row]:
        """Return the next frame, or nothing at the deadline; raises ValueError for bytes that had to be dropped."""
        while True:
            stale = self._heard + STALE if self._bytes else math.inf
            silent = time.monotonic() >= stale
            row = self._parse(silent=silent)
            if row is not None:
                return (row,)
            if silent and self._bytes:
                self._left_out(len(self._bytes), f"a frame of which only {len(self._bytes)} of {self._size} bytes came")
                continue
            if wait_readable(self._fd, min(deadline, stale)):
                data = os.read(self._fd, CHUNK)
                if not data:
                    raise EndOfInputError
                self._bytes += data
                self._heard = time.monotonic()
            elif time.monotonic() >= deadline:
                return ()

    def _parse(self, *, silent: bool) -> Row | None:
        """Return a complete frame from the start of the buffer, if any; drop bytes that cannot start a frame."""
        while len(self._bytes) >= self._size:
            if self._bytes.startswith(self._header):
                follows = bytes(self._bytes[self._size : self._size + len(self._header)])
                if self._known or follows == self._header or (silent and not follows):
                    return self._unpack()
                if self._header.startswith(follows):
                    return None  # too early to tell
            place = self._bytes.find(self._header, 1)
            end = place if place > 0 else len(self._bytes) - len(self._header) + 1
            self._left_out(end, f"{end} bytes that begin no frame")
        return None

    def _unpack(self) -> Row:
        values = self._layout.unpack(self._bytes[len(self._header) : self._size])
        del self._bytes[: self._size]
        self._known = self._before = True
        if not all(map(is_usable, values)):
            raise ValueError("a frame with a value that is no finite number, or too large for a 32-bit float")
        return tuple(map(float, values))

    def _left_out(self, count: int, text: str) -> None:
        """Drop bytes and raise ValueError.

        Fewer bytes than a frame before the first frame are no fault: reading may start in the middle of one.
        """
        del self._bytes[:count]
        self._known = False
        if self._before or count >= self._size:
            raise ValueError(text)
