"""Reassembles TCP streams: the data that programs exchanged, without the segment boundaries."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

_SYN: Final = 0x02
_HALF: Final = 1 << 31


@dataclass(slots=True)
class _Flow:
    said: bytearray = field(default_factory=bytearray)
    expected: int | None = None

    def take(self, number: int, flags: int, payload: bytes) -> None:
        """Append the next segment, without retransmitted data; a gap is closed up."""
        if flags & _SYN:
            number = (number + 1) & 0xFFFFFFFF
        ahead = 0 if self.expected is None else (number - self.expected) & 0xFFFFFFFF
        if ahead >= _HALF:
            payload = payload[(1 << 32) - ahead :]
            number = (number + (1 << 32) - ahead) & 0xFFFFFFFF
        self.said += payload
        self.expected = (number + len(payload)) & 0xFFFFFFFF


class Flows:
    """Keeps each direction of each connection separate, by its addresses and ports."""

    def __init__(self) -> None:
        self._flows: dict[bytes, _Flow] = {}

    def take(self, addresses: bytes, segment: bytes) -> int:
        """Add a TCP segment (RFC 9293, section 3.1), and return the length of its data in bytes.

        ``addresses`` are those of both ends.
        """
        if len(segment) < 20:
            return 0
        number, offset, flags = struct.unpack_from("!4xI4xBB", segment)
        payload = segment[(offset >> 4) * 4 :]
        self._flows.setdefault(addresses + segment[:4], _Flow()).take(number, flags, payload)
        return len(payload)

    def said(self) -> bytes:
        """Return all data, one direction of one connection after the other."""
        return b"\n".join(bytes(flow.said) for flow in list(self._flows.values()))
