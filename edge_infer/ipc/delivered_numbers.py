"""Sequence numbers of messages that the broker has acknowledged recently, in memory that the supervisor holds.

A publisher notes each number at once, without wearing out an SD card. After the publisher's death, the disk and the
engine still have some of these messages. The next publisher reads the numbers and does not send the messages again.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeAlias

from edge_infer.ipc.messages import NumberedKind
from edge_infer.platform import memfd

Series: TypeAlias = tuple[str, str, NumberedKind]
"""Pipeline, boot and kind; each such series has its own numbers."""
SLOTS: Final = 4096
"""Number of newest entries that are kept: more than the publisher sends in the second until the disk or the engine has
recorded them."""
LAST: Final = 1 << 48
"""Maximum running number of a slot, which no publisher reaches."""
_TAG: Final = 8
_SLOT: Final = struct.Struct(f"<Q{_TAG}sQ")  # running number, series, number of the message
_SUM: Final = struct.Struct("<I")
SLOT_BYTES: Final = _SLOT.size + _SUM.size
BYTES: Final = SLOTS * SLOT_BYTES


def new_delivered_numbers() -> int:
    """Return a memory file of fixed size; the process that starts publishers owns it and passes it on."""
    file = memfd.create("edge-infer-delivered", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


class DeliveredNumbers:
    """Ring of slots. Each slot has a checksum, so that a kill during a write leaves no wrong entry.

    A number that was never acknowledged must not appear as acknowledged, because its message would be lost. Only one
    process at a time may use the ring. The object takes over ``fd``.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)  # an earlier process may have set append mode, which the seals forbid
        slots = list(_slots(os.pread(fd, BYTES, 0)))
        self._newest = max((running for running, _, _ in slots), default=0)
        if self._newest == LAST:  # corrupt: it must not take precedence over new slots
            os.pwrite(fd, bytes(BYTES), 0)
            self._newest = 0
        self._earlier: dict[bytes, array[int]] = {}  # sorted, for each series
        for tag, number in sorted((tag, number) for _, tag, number in slots):
            self._earlier.setdefault(tag, array("Q")).append(number)

    def __enter__(self) -> DeliveredNumbers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, series: Series, number: int) -> None:
        """Record that the broker has acknowledged a message."""
        self._newest += 1
        slot = _SLOT.pack(self._newest, _tag(series), number)
        os.pwrite(self._fd, slot + _SUM.pack(zlib.crc32(slot)), self._newest % SLOTS * SLOT_BYTES)

    def before(self, series: Series, number: int) -> bool:
        """Return whether the broker acknowledged this message to an earlier process."""
        if not self._earlier or (numbers := self._earlier.get(_tag(series))) is None:
            return False
        at = bisect_left(numbers, number)
        return at < len(numbers) and numbers[at] == number

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@lru_cache(maxsize=1024)
def _tag(series: Series) -> bytes:
    """Return the code of a series in a slot. All series that one supervisor handles have different codes."""
    return sha256("\0".join(series).encode()).digest()[:_TAG]


def _slots(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield the running number, the tag and the message number of each slot that was written completely."""
    for at in range(0, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        running, tag, number = _SLOT.unpack_from(data, at)
        (checksum,) = _SUM.unpack_from(data, at + _SLOT.size)
        if 0 < running <= LAST and zlib.crc32(data[at : at + _SLOT.size]) == checksum:
            yield running, tag, number
