"""Somebody between the daemon and its broker who reads along: what was published, and what the broker took over."""

from __future__ import annotations

from edge_infer.audit.packets import (
    CONNECT,
    PUBACK,
    PUBLISH,
    VERSION_5,
    PublishPacket,
    next_packet,
    publication,
    version_of,
)

REFUSED = 0x80


class Witness:
    """``acknowledged``: every message for which the broker took over the responsibility."""

    def __init__(self) -> None:
        self.acknowledged: list[PublishPacket] = []

    def connection(self) -> Conversation:
        """What is said on one more connection."""
        return Conversation(self.acknowledged)


class Conversation:
    """The packets of one connection, cut out of the bytes of both directions."""

    def __init__(self, acknowledged: list[PublishPacket]) -> None:
        self._acknowledged = acknowledged
        self._streams = {True: bytearray(), False: bytearray()}
        self._open: dict[bytes, PublishPacket] = {}
        self._version = VERSION_5

    def heard(self, data: bytes, *, from_broker: bool) -> None:
        """More bytes of one direction."""
        stream = self._streams[from_broker]
        stream += data
        while (packet := next_packet(stream)) is not None:
            self._look(*packet)

    def _look(self, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == CONNECT:
            self._version = version_of(body)
        elif kind == PUBLISH:
            said = publication(head, body, self._version)
            if said.identifier:  # with quality 0 nothing is acknowledged
                self._open[said.identifier] = said
        elif kind == PUBACK:
            found = self._open.pop(body[:2], None)
            if found is not None and not (len(body) > 2 and body[2] >= REFUSED):
                self._acknowledged.append(found)
