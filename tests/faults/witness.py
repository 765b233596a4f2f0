"""Somebody between the daemon and its broker who reads along: what was published, and what the broker took over."""

from __future__ import annotations

from typing import Final

CONNECT, PUBLISH, PUBACK = 1, 3, 4
MQTT_5: Final = 5


class Witness:
    """``acknowledged``: topic and payload of every message for which the broker took over the responsibility."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, bytes]] = []

    def connection(self) -> Conversation:
        """What is said on one more connection."""
        return Conversation(self.acknowledged)


class Conversation:
    """The packets of one connection, cut out of the bytes of both directions (MQTT 5, section 2.1)."""

    def __init__(self, acknowledged: list[tuple[str, bytes]]) -> None:
        self._acknowledged = acknowledged
        self._streams = {True: bytearray(), False: bytearray()}
        self._open: dict[int, tuple[str, bytes]] = {}
        self._level = MQTT_5

    def heard(self, data: bytes, *, from_broker: bool) -> None:
        """More bytes of one direction."""
        stream = self._streams[from_broker]
        stream += data
        while (packet := _taken(stream)) is not None:
            self._look(*packet)

    def _look(self, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == CONNECT:
            self._level = body[6]  # behind the name MQTT and its length
        elif kind == PUBLISH and head & 0b110:  # with quality 0 nothing is acknowledged
            at = 2 + int.from_bytes(body[:2], "big")
            topic, number = body[2:at].decode(), int.from_bytes(body[at : at + 2], "big")
            at += 2
            if self._level == MQTT_5:
                size, at = _number(body, at)
                at += size
            self._open[number] = topic, body[at:]
        elif kind == PUBACK:
            number = int.from_bytes(body[:2], "big")
            refused = len(body) > 2 and body[2] >= 0x80
            said = self._open.pop(number, None)
            if said is not None and not refused:
                self._acknowledged.append(said)


def _taken(stream: bytearray) -> tuple[int, bytes] | None:
    """The first packet, taken out of the stream; None until it is whole."""
    try:
        size, start = _number(stream, 1)
    except IndexError:
        return None
    if len(stream) < start + size:
        return None
    head, body = stream[0], bytes(stream[start : start + size])
    del stream[: start + size]
    return head, body


def _number(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer (section 1.5.5) and where it ends; raises IndexError when it is cut off."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
