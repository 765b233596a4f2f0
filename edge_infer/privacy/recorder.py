"""Stands in for the broker on a loopback port and keeps every byte that it is sent."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field
from typing import Final

CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PING = 1, 3, 8, 10, 12
_TICK: Final = 0.2
MOST: Final = 64 << 20
"""Bytes that are kept."""


@dataclass(slots=True)
class _Client:
    version: int = 5
    waiting: bytearray = field(default_factory=bytearray)


class Recorder:
    """Takes MQTT 3.1.1 and 5, acknowledges everything, forwards nothing. ``payloads`` are topics with what they got."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []
        self.stream = bytearray()
        self._clients: dict[socket.socket, _Client] = {}
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Recorder:
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
                        self._clients[client] = _Client()
                        selector.register(client, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not self._read(key.fileobj):
                        selector.unregister(key.fileobj)
                        del self._clients[key.fileobj]
                        key.fileobj.close()

    def _read(self, client: socket.socket) -> bool:
        """Takes what came; False at the end."""
        try:
            data = client.recv(65536)
        except OSError:
            return False
        if len(self.stream) < MOST:
            self.stream += data
        state = self._clients[client]
        state.waiting += data
        with contextlib.suppress(OSError):
            while (packet := _packet(state.waiting)) is not None:
                head, body = packet
                if answer := self._answer(state, head, body):
                    client.sendall(answer)
        return bool(data)

    def _answer(self, state: _Client, head: int, body: bytes) -> bytes:
        kind = head >> 4
        if kind == CONNECT:
            state.version = body[6]
            return b"\x20\x03\x00\x00\x00" if state.version == 5 else b"\x20\x02\x00\x00"
        if kind == PUBLISH:
            return self._publish(state, head, body)
        if kind in (SUBSCRIBE, UNSUBSCRIBE):
            properties = b"\x00" if state.version == 5 else b""
            rest = body[:2] + properties + b"\x00"
            return bytes((0x90 if kind == SUBSCRIBE else 0xB0, len(rest))) + rest
        return b"\xd0\x00" if kind == PING else b""

    def _publish(self, state: _Client, head: int, body: bytes) -> bytes:
        length = int.from_bytes(body[:2], "big")
        topic, rest, identifier = body[2 : 2 + length].decode(errors="replace"), body[2 + length :], b""
        if head & 0b110:
            identifier, rest = rest[:2], rest[2:]
        if state.version == 5:
            size, used = _length(rest, 0) or (0, 1)
            rest = rest[used + size :]
        self.payloads.append((topic, rest))
        return b"\x40\x02" + identifier if identifier else b""


def _length(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """A variable byte integer at a place, and how many bytes it has; None when it is not there as a whole."""
    value = 0
    for count in range(4):
        if at + count >= len(data):
            return None
        value |= (data[at + count] & 0x7F) << (7 * count)
        if not data[at + count] & 0x80:
            return value, count + 1
    return None


def _packet(waiting: bytearray) -> tuple[int, bytes] | None:
    """Takes the first whole packet: its head and its body."""
    found = _length(waiting, 1) if len(waiting) > 1 else None
    if found is None or len(waiting) < 1 + found[1] + found[0]:
        return None
    begin = 1 + found[1]
    head, body = waiting[0], bytes(waiting[begin : begin + found[0]])
    del waiting[: begin + found[0]]
    return head, body
