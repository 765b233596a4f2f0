"""Parses MQTT packets from raw bytes, for passive observers (OASIS MQTT 5.0, sections 2.1 and 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONNECT: Final = 1
PUBLISH: Final = 3
PUBACK: Final = 4
VERSION_5: Final = 5


@dataclass(frozen=True, slots=True)
class Publication:
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


def publication(head: int, body: bytes, version: int) -> Publication:
    """Return the content of a PUBLISH packet."""
    length = int.from_bytes(body[:2], "big")
    topic, rest, identifier = body[2 : 2 + length].decode(errors="replace"), body[2 + length :], b""
    if head & 0b110:
        identifier, rest = rest[:2], rest[2:]
    if version == VERSION_5:
        size, used = _length(rest, 0) or (0, 1)
        rest = rest[used + size :]
    return Publication(topic, identifier, rest)


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
