"""Brokers that are none: they hang, flood, close, or know only MQTT 3.1.1."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
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


def old(port: int, refusal: bytes) -> Callable[[socket.socket, Server], None]:
    """Passes MQTT 3.1.1 on to the broker on ``port``; answers a newer CONNECT with ``refusal`` and closes."""

    def serve(connection: socket.socket, server: Server) -> None:
        connect = connection.recv(65536)
        level = connect[connect.index(b"MQTT") + 4]
        if level != 4:
            connection.sendall(refusal)
            return
        with socket.create_connection(("127.0.0.1", port)) as broker:
            broker.sendall(connect)
            ends = {connection: broker, broker: connection}
            while not server.stopping.is_set():
                for end in select.select(list(ends), [], [], 0.1)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    return serve
