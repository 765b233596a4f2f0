"""Brokers that are none: they hang, flood, close, or know only MQTT 3.1.1."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

from tests.broker import DEADLINE


class Server:
    """Listens on a free port and serves each connection in a thread by ``serve(connection, server)``."""

    def __init__(self, serve: Callable[[socket.socket, Server], None]) -> None:
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.accepted = 0

    def __enter__(self) -> Server:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        self._socket.close()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            if select.select([self._socket], [], [], 0.1)[0]:
                connection, _ = self._socket.accept()
                self.accepted += 1
                self._start(lambda connection=connection: self._run(connection))  # type: ignore[misc]

    def _run(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client closes the connection, as it should
            self._serve(connection, self)


def silent(connection: socket.socket, server: Server) -> None:
    """Accepts and says nothing."""
    server.stopping.wait(60)
    connection.close()


def closing(connection: socket.socket, _server: Server) -> None:
    """Accepts and closes."""
    connection.close()


def repeating(answer: bytes, flood: bytes) -> Callable[[socket.socket, Server], None]:
    """Answers CONNECT with ``answer`` and then says ``flood`` without end."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.settimeout(1)
        connection.recv(65536)
        connection.sendall(answer)
        while not server.stopping.is_set():
            connection.sendall(flood)

    return serve


def subscribed(packets: Iterable[bytes]) -> Callable[[socket.socket, Server], None]:
    """Accepts a subscriber with MQTT 3.1.1 and sends it these packets after its first subscription."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(65536)
        connection.sendall(b"\x20\x02\x00\x00")
        subscribe = connection.recv(65536)
        connection.sendall(b"\x90\x03" + subscribe[2:4] + b"\x00")
        for packet in packets:
            connection.sendall(packet)
        server.stopping.wait(DEADLINE)

    return serve


def old(port: int, refusal: bytes) -> Callable[[socket.socket, Server], None]:
    """Passes MQTT 3.1.1 on to the broker on ``port``; answers a newer CONNECT with ``refusal`` and closes."""

    def serve(connection: socket.socket, server: Server) -> None:
        connect = connection.recv(65536)
        level = connect[connect.index(b"MQTT") + 4]
        if level != 4:
            connection.sendall(refusal)
            return
        pass_on(connect, connection, port, server)

    return serve


def pass_on(begin: bytes, connection: socket.socket, port: int, server: Server) -> None:
    """Sends what the client began with, and then everything in both directions."""
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.sendall(begin)
        ends = {connection: broker, broker: connection}
        while not server.stopping.is_set():
            for end in select.select(list(ends), [], [], 0.1)[0]:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


def forwarding(port: int, closes: int) -> Callable[[socket.socket, Server], None]:
    """Passes connections on to the broker on ``port``; it is away for as many connections, and each is closed."""
    left = closes

    def serve(connection: socket.socket, server: Server) -> None:
        nonlocal left
        connect = connection.recv(65536)
        if left > 0:
            left -= 1
            return
        pass_on(connect, connection, port, server)

    return serve


class _Way:
    """One direction of a slow link: each byte arrives ``latency`` seconds after its turn at ``rate`` bytes a second."""

    def __init__(self, source: socket.socket, target: socket.socket, rate: float, latency: float) -> None:
        self.source = source
        self._target = target
        self._rate = rate
        self._latency = latency
        self._free = 0.0
        self._flying: deque[tuple[float, bytes]] = deque()

    def waits(self) -> bool:
        """A full queue in front of the link: the sender is held back."""
        return self._free - time.monotonic() > 2.0

    def take(self) -> bool:
        data = self.source.recv(1024)
        now = time.monotonic()
        self._free = max(self._free, now) + len(data) / self._rate
        self._flying.append((self._free + self._latency, data))
        return bool(data)

    def deliver(self) -> None:
        while self._flying and self._flying[0][0] <= time.monotonic():
            self._target.sendall(self._flying.popleft()[1])


def slow(port: int, rate: float, latency: float) -> Callable[[socket.socket, Server], None]:
    """The broker on ``port`` at the other end of a link of this rate (bytes a second) and latency (seconds one way)."""

    def serve(connection: socket.socket, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", port)) as broker:
            ways = [_Way(connection, broker, rate, latency), _Way(broker, connection, rate, latency)]
            open_ways = list(ways)
            while open_ways and not server.stopping.is_set():
                ready = [way for way in open_ways if not way.waits()]
                readable = select.select([way.source for way in ready], [], [], 0.02)[0]
                open_ways = [way for way in open_ways if way.source not in readable or way.take()]
                for way in ways:
                    way.deliver()

    return serve
