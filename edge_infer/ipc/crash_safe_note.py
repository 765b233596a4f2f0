"""Crash-safe note: one value in memory that the supervisor holds.

A publisher writes it. The note outlives the publisher and does not wear out an SD card.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from typing import Final

from edge_infer.platform import memfd

HALF: Final = 32 << 20
"""Bytes of each half. Parts that were never written take no memory."""
LAST: Final = 1 << 48
"""Maximum generation. With one note per millisecond it is reached after nine thousand years."""
_HEAD: Final = struct.Struct("<QII")  # generation, length, checksum


def new_note() -> int:
    """Return a memory file; the process that starts publishers owns it and passes it on."""
    file = memfd.create("edge-infer-slate", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, 2 * HALF)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


def forget_note(file: int) -> None:
    """Drop the value while no process uses the note."""
    for at in (0, HALF):
        os.pwrite(file, bytes(_HEAD.size), at)


class CrashSafeNote:
    """One value, replaced atomically: writes alternate between two halves, so a kill during a write keeps the old one.

    Only one process at a time may use the note. The object takes over ``fd``.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._generation, self._found = max((self._half(0), self._half(HALF)), key=lambda half: half[0])

    def __enter__(self) -> CrashSafeNote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> bytes | None:
        """Return the last value that the previous process wrote; None if there is none."""
        return self._found if self._generation else None

    def write(self, data: bytes) -> None:
        """Write the value; raises ValueError for more than `HALF` bytes including the header."""
        if _HEAD.size + len(data) > HALF:
            raise ValueError(f"{len(data)} bytes do not fit")
        if self._generation >= LAST:  # corrupt: it must not win over new notes
            forget_note(self._fd)
            self._generation = 0
        generation = self._generation + 1
        head = _HEAD.pack(generation, len(data), zlib.crc32(data))
        os.pwrite(self._fd, head + data, (generation % 2) * HALF)
        self._generation = generation

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _half(self, at: int) -> tuple[int, bytes]:
        head = os.pread(self._fd, _HEAD.size, at)
        if len(head) < _HEAD.size:
            return 0, b""
        generation, length, checksum = _HEAD.unpack(head)
        if generation > LAST:
            return 0, b""
        data = os.pread(self._fd, min(length, HALF), at + _HEAD.size)
        return (generation, data) if zlib.crc32(data) == checksum and len(data) == length else (0, b"")
