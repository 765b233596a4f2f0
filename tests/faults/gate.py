"""A door in front of a broker: closed, nobody comes in and whoever is in is thrown out."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

from tests.broker import eventually, free_port
from tests.faults.witness import Conversation, Witness


class Gate:
    """Forwards connections to ``port`` while it is open. Broker and subscribers behind it can meet first.

    ``witness`` has read every byte that was forwarded, and none that was not.
    """

    def __init__(self, port: int) -> None:
        self.witness = Witness()
        self._said: dict[socket.socket, tuple[Conversation, bool]] = {}
        self.port = free_port()
        self._behind = port
        self._listener: socket.socket | None = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Gate:
        self.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.close()

    def open(self) -> None:
        """Lets in who knocks."""
        listener = eventually(self._listen, "port that a closed listener has given back")
        with self._lock:
            self._listener = listener

    def _listen(self) -> socket.socket | None:
        with suppress(OSError):  # the thread still waits for the closed listener
            return socket.create_server(("127.0.0.1", self.port))
        return None

    def close(self) -> None:
        """Ends every connection; the port is closed."""
        with self._lock:
            if self._listener:
                self._listener.close()
                self._listener = None
            for end in self._pairs:
                end.close()
            self._pairs.clear()
            self._said.clear()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                files = [*self._pairs, *([self._listener] if self._listener else [])]
            try:
                ready = select.select(files, [], [], 0.05)[0]
            except (OSError, ValueError):  # closed meanwhile
                continue
            for end in ready:
                with self._lock, suppress(OSError):
                    self._serve(end)

    def _serve(self, end: socket.socket) -> None:
        if end is self._listener:
            comer = end.accept()[0]
            try:
                behind = socket.create_connection(("127.0.0.1", self._behind), 1.0)
            except OSError:
                comer.close()
                return
            self._pairs |= {comer: behind, behind: comer}
            said = self.witness.connection()
            self._said |= {comer: (said, False), behind: (said, True)}
            return
        other = self._pairs.get(end)
        if other is None:
            return
        try:
            data = end.recv(65536)
            if data:
                other.sendall(data)
                said, from_broker = self._said[end]
                said.heard(data, from_broker=from_broker)
        except OSError:
            data = b""
        if not data:
            for side in (end, other):
                self._pairs.pop(side, None)
                self._said.pop(side, None)
                side.close()
