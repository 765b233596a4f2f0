"""Replacement for the broker on a loopback port; it keeps every byte that it receives."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field
from typing import Final

from edge_infer.audit.packets import CONNECT, PUBLISH, VERSION_5, next_packet, publication, version_of

SUBSCRIBE, UNSUBSCRIBE, PING = 8, 10, 12
_TICK: Final = 0.2
MOST: Final = 64 << 20
"""Maximum number of bytes kept."""


@dataclass(slots=True)
class _RecordedClient:
    version: int = VERSION_5
    waiting: bytearray = field(default_factory=bytearray)


class RecordingBroker:
    """Accepts MQTT 3.1.1 and 5, acknowledges everything and forwards nothing.

    ``payloads`` are pairs of topic and payload.
    """

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []
        self.stream = bytearray()
        self._clients: dict[socket.socket, _RecordedClient] = {}
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> RecordingBroker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for client in (*self._clients, self._listener):
            client.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select(_TICK):
                    if key.fileobj is self._listener:
                        client, _ = self._listener.accept()
                        client.settimeout(1.0)
                        self._clients[client] = _RecordedClient()
                        selector.register(client, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not self._read(key.fileobj):
                        selector.unregister(key.fileobj)
                        del self._clients[key.fileobj]
                        key.fileobj.close()

    def _read(self, client: socket.socket) -> bool:
        """Read received data; return False at the end."""
        try:
            data = client.recv(65536)
        except OSError:
            return False
        if len(self.stream) < MOST:
            self.stream += data
        state = self._clients[client]
        state.waiting += data
        with contextlib.suppress(OSError):
            while (packet := next_packet(state.waiting)) is not None:
                head, body = packet
                if answer := self._answer(state, head, body):
                    client.sendall(answer)
        return bool(data)

    def _answer(self, state: _RecordedClient, head: int, body: bytes) -> bytes:
        kind = head >> 4
        if kind == CONNECT:
            state.version = version_of(body)
            return b"\x20\x03\x00\x00\x00" if state.version == VERSION_5 else b"\x20\x02\x00\x00"
        if kind == PUBLISH:
            return self._publish(state, head, body)
        if kind in (SUBSCRIBE, UNSUBSCRIBE):
            properties = b"\x00" if state.version == VERSION_5 else b""
            rest = body[:2] + properties + b"\x00"
            return bytes((0x90 if kind == SUBSCRIBE else 0xB0, len(rest))) + rest
        return b"\xd0\x00" if kind == PING else b""

    def _publish(self, state: _RecordedClient, head: int, body: bytes) -> bytes:
        said = publication(head, body, state.version)
        self.payloads.append((said.topic, said.payload))
        return b"\x40\x02" + said.identifier if said.identifier else b""
