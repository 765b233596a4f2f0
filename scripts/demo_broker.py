"""A broker in Python for the demo, for machines without mosquitto: ``demo_broker.py PORT``, on the loopback interface.

amqtt supports MQTT 3.1.1 only. It parses a CONNECT packet of MQTT 5 as if it were 3.1.1 and sends no reply. So this
script reads the version of the packet first and rejects other versions as the standard says. Clients then retry with
3.1.1.
"""

# mypy: disallow-subclassing-any=False
# (amqtt is not installed where types are checked)

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Final

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

LISTENER: Final = "default"
CONFIG: Final = {
    "listeners": {LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}
SUPPORTED: Final = 4
"""Protocol level of MQTT 3.1.1."""
REFUSAL: Final = bytes((0x20, 2, 0, 1))
"""CONNACK: unacceptable protocol version."""


class Reread(StreamReaderAdapter):
    """A stream whose beginning has been read already."""

    def __init__(self, stream: asyncio.StreamReader, head: bytes) -> None:
        super().__init__(stream)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        """Return at most ``n`` bytes, first those that were read before."""
        if self._head:
            part, self._head = (self._head, b"") if n < 0 else (self._head[:n], self._head[n:])
            return part if len(part) == n else part + bytes(await super().read(n - len(part)))
        return bytes(await super().read(n))


async def serve(port: int) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    broker = Broker(CONFIG)
    await broker.start()

    async def greet(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await greeting(stream)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        if head[-1] != SUPPORTED:
            writer.write(REFUSAL)
            writer.close()
            return
        await broker.external_connected(Reread(stream, head), StreamWriterAdapter(writer), LISTENER)

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(greet, "127.0.0.1", port)
    await stop.wait()
    server.close()
    await broker.shutdown()


async def greeting(stream: asyncio.StreamReader) -> bytes:
    """Return a CONNECT packet up to its protocol level, which is the last byte."""
    head = await stream.readexactly(2)
    while head[-1] & 0x80:  # the remaining length continues in the next byte
        head += await stream.readexactly(1)
    return head + await stream.readexactly(len(b"\x00\x04MQTT") + 1)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
