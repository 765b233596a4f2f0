"""MQTT packets in raw bytes, for passive observers (OASIS MQTT 5.0), and TCP streams reassembled."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

# Parses MQTT packets from raw bytes, for passive observers (OASIS MQTT 5.0, sections 2.1 and 3.3).

CONNECT: Final = 1
PUBLISH: Final = 3
PUBACK: Final = 4
VERSION_5: Final = 5


@dataclass(frozen=True, slots=True)
class PublishPacket:
    """The content of a PUBLISH packet; ``identifier`` is empty if no acknowledgement is expected."""

    topic: str
    identifier: bytes
    payload: bytes


def next_packet(waiting: bytearray) -> tuple[int, bytes] | None:
    """Remove the first complete packet and return its header byte and its body; None until there is one."""
    found = _length(waiting, 1) if len(waiting) > 1 else None
    if found is None or len(waiting) < 1 + found[1] + found[0]:
        return None
    begin = 1 + found[1]
    head, body = waiting[0], bytes(waiting[begin : begin + found[0]])
    del waiting[: begin + found[0]]
    return head, body


def version_of(body: bytes) -> int:
    """Return the protocol version that a CONNECT packet requests."""
    return body[6]  # after the name MQTT and its length


def publication(head: int, body: bytes, version: int) -> PublishPacket:
    """Return the content of a PUBLISH packet."""
    length = int.from_bytes(body[:2], "big")
    topic, rest, identifier = body[2 : 2 + length].decode(errors="replace"), body[2 + length :], b""
    if head & 0b110:
        identifier, rest = rest[:2], rest[2:]
    if version == VERSION_5:
        size, used = _length(rest, 0) or (0, 1)
        rest = rest[used + size :]
    return PublishPacket(topic, identifier, rest)


def _length(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return the variable byte integer at a position, and its length in bytes; None if it is incomplete."""
    value = 0
    for count in range(4):
        if at + count >= len(data):
            return None
        value |= (data[at + count] & 0x7F) << (7 * count)
        if not data[at + count] & 0x80:
            return value, count + 1
    return None


# Reassembles TCP streams: the data that programs exchanged, without the segment boundaries.

_SYN: Final = 0x02
_HALF: Final = 1 << 31


@dataclass(slots=True)
class _Flow:
    said: bytearray = field(default_factory=bytearray)
    expected: int | None = None

    def take(self, number: int, flags: int, payload: bytes) -> None:
        """Append the next segment, without data that was retransmitted. A gap in the data is ignored."""
        if flags & _SYN:
            number = (number + 1) & 0xFFFFFFFF
        ahead = 0 if self.expected is None else (number - self.expected) & 0xFFFFFFFF
        if ahead >= _HALF:
            payload = payload[(1 << 32) - ahead :]
            number = (number + (1 << 32) - ahead) & 0xFFFFFFFF
        self.said += payload
        self.expected = (number + len(payload)) & 0xFFFFFFFF


class Flows:
    """Keeps the two directions of each connection apart, by addresses and ports."""

    def __init__(self) -> None:
        self._flows: dict[bytes, _Flow] = {}

    def take(self, addresses: bytes, segment: bytes) -> int:
        """Add a TCP segment (RFC 9293, section 3.1), and return the length of its data in bytes.

        ``addresses`` are the addresses of both ends.
        """
        if len(segment) < 20:
            return 0
        number, offset, flags = struct.unpack_from("!4xI4xBB", segment)
        payload = segment[(offset >> 4) * 4 :]
        self._flows.setdefault(addresses + segment[:4], _Flow()).take(number, flags, payload)
        return len(payload)

    def said(self) -> bytes:
        """Return all data, one direction of one connection after another."""
        return b"\n".join(bytes(flow.said) for flow in list(self._flows.values()))
