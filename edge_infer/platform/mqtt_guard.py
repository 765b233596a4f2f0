"""A paho client whose memory neither a hostile broker nor another client of the broker can fill with packets."""

from __future__ import annotations

from typing import ClassVar, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MessageType, MQTTErrorCode

NO_MESSAGES: Final = -1
"""Maximum QoS of a client that subscribes to nothing."""
MOST_UNSENT: Final = 4096
"""Maximum number of acknowledgements that wait for a broker that does not read them; each takes about 600 bytes."""
PIECE: Final = 1 << 16
"""Bytes that are read at once of a message that is truncated."""
_EXPECTED: Final = frozenset(
    {
        MessageType.CONNACK, MessageType.PUBLISH, MessageType.PUBACK, MessageType.SUBACK, MessageType.UNSUBACK,
        MessageType.PINGRESP, MessageType.DISCONNECT,
    }
)  # fmt: skip
"""Packets that a broker may send to a client that uses no QoS 2."""


class FloodError(ConnectionError):
    """The broker sends packets that this client did not request."""


class GuardedClient(Client):
    """A client that ends a connection on which packets are too long, or the QoS is higher than requested.

    The overridden methods are internal to paho, which limits neither: a packet may have 256 MiB, and paho keeps 65,535
    messages of QoS 2 until the broker releases them. Tests with flooding brokers check the overrides. After such an
    end, ``flood`` is the reason.
    """

    largest: ClassVar[int] = 16384
    """Maximum bytes of one packet."""
    highest_qos: ClassVar[int] = NO_MESSAGES
    """The QoS of the subscriptions."""
    cuts: ClassVar[bool] = False
    """Whether a packet that is too long is truncated instead of ending the connection. A broker forwards and retains
    the messages of any publisher. Without truncation, one long retained message would end every connection of a client
    that subscribes to many publishers."""

    flood: FloodError | None = None
    too_long = False
    """Whether the reason was the length of a packet."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize <= self.largest:
            return super()._sock_recv(bufsize)
        if not self.cuts:
            self.too_long = True
            self.flood = FloodError(f"it sent a packet of {bufsize} bytes, more than this client accepts")
            raise self.flood
        del self._in_packet["packet"][self.largest :]
        return super()._sock_recv(min(bufsize, PIECE))

    def _packet_handle(self) -> MQTTErrorCode:
        del self._in_packet["packet"][self.largest :]
        if (why := self._unasked()) is not None:
            self.flood = FloodError(why)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._packet_handle()

    def _unasked(self) -> str | None:
        """Return the fault if the received packet is of a kind that was not requested."""
        command = self._in_packet["command"]
        kind, qos = command & 0xF0, command >> 1 & 3
        if kind not in _EXPECTED:
            return f"it sent a packet of type {kind >> 4}, which brokers do not send to clients"
        if kind == MessageType.PUBLISH and qos > self.highest_qos:
            if self.highest_qos == NO_MESSAGES:
                return "it sent messages, although this client subscribes to nothing"
            return f"it sent a message with QoS {qos}, although this client subscribed with QoS {self.highest_qos}"
        if kind == MessageType.CONNACK and self.is_connected():
            return "it answered the same connection twice"
        if len(self._out_packet) > MOST_UNSENT:
            return "it does not read the answers"
        return None
