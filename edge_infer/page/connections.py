"""Connections of browsers, served without blocking; each has one request at a time."""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from edge_infer.page.http_messages import (
    END_OF_HEAD,
    MAX_HEAD_BYTES,
    HttpRequest,
    RefusedRequestError,
    bad,
    json_response,
    parse_head,
)

log = logging.getLogger(__name__)

MAX_CLIENTS: Final = 64
"""Maximum number of connections. For one more, the connection closest to its deadline is closed."""
READ_SECONDS: Final = 10.0
"""Seconds in which a request must arrive, and in which a browser must accept a part of an answer."""
WRITE_SECONDS: Final = 30.0
"""Seconds in which a browser must accept a whole answer."""
KEEP_SECONDS: Final = 60.0
"""Seconds that a connection may be idle between two requests."""
ANSWER_SECONDS: Final = 240.0
"""Seconds in which an answer must be ready; longer than any request to the daemon or the writer takes."""


class BrowserConnection:
    """One connection. ``uid`` is the user at the other end. `answer` is called exactly once for each request."""

    def __init__(
        self, connection: socket.socket, uid: int, handle: Callable[[BrowserConnection, HttpRequest, bytes], None]
    ) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.uid = uid
        self.closed = False
        self._handle = handle
        self._data = bytearray()
        self._request: HttpRequest | None = None
        self._waiting = False
        self._unsent = b""
        self._close_after = False
        self.until = time.monotonic() + READ_SECONDS
        self._write_until = 0.0

    @property
    def events(self) -> int:
        """The poll events to wait for."""
        return selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ

    def ready(self) -> None:
        """Read or write as much as possible now."""
        try:
            if self._unsent:
                self._write()
            else:
                self._read()
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("browser disconnected: %s", error)
            self.close()

    def answer(self, data: bytes, *, close: bool = False) -> None:
        """Send an answer; the next request may follow unless the connection closes."""
        if self.closed:
            return
        now = time.monotonic()
        self._waiting, self._unsent, self._close_after = False, data, close
        self.until, self._write_until = now + READ_SECONDS, now + WRITE_SECONDS
        self.ready()

    def refuse(self, refusal: RefusedRequestError) -> None:
        """Answer with a refusal and close, because the end of a malformed request is unknown."""
        body = {"kind": refusal.kind, "error": str(refusal)}
        self.answer(json_response(body, refusal.status, close=True), close=True)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.closed = True
        self.connection.close()

    def _read(self) -> None:
        data = self.connection.recv(65536)
        if not data or self._waiting:  # the browser is gone, or sends before it has received an answer
            self.close()
            return
        self._data += data
        self._next()

    def _next(self) -> None:
        """Handle the next request as soon as it is complete."""
        try:
            if self._request is None and not self._take_head():
                return
            assert self._request is not None
            if len(self._data) < self._request.length:
                return
            if len(self._data) > self._request.length:
                self.refuse(bad("a second request must wait for the answer to the first"))
                return
            request, body = self._request, bytes(self._data)
            self._request, self._waiting = None, True
            self._data.clear()
            self.until = time.monotonic() + ANSWER_SECONDS
            self._handle(self, request, body)
        except RefusedRequestError as refusal:
            self.refuse(refusal)

    def _take_head(self) -> bool:
        head, mark, rest = self._data.partition(END_OF_HEAD)
        if not mark:
            if len(self._data) > MAX_HEAD_BYTES:
                raise RefusedRequestError(431, "request", f"a head has at most {MAX_HEAD_BYTES} bytes")
            return False
        if len(head) > MAX_HEAD_BYTES:
            raise RefusedRequestError(431, "request", f"a head has at most {MAX_HEAD_BYTES} bytes")
        self._request, self._data = parse_head(bytes(head)), bytearray(rest)
        return True

    def _write(self) -> None:
        sent = self.connection.send(self._unsent)
        self._unsent = self._unsent[sent:]
        now = time.monotonic()
        self.until = min(self._write_until, now + READ_SECONDS)
        if self._unsent:
            return
        self.until = now + KEEP_SECONDS
        if self._close_after:
            self.close()


def peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end of a Unix socket; -1 for any other socket."""
    size = struct.calcsize("iII")
    if connection.family != socket.AF_UNIX:
        return -1
    uid: int = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1]
    return uid


class Doorway:
    """Accepts connections and keeps at most `MAX_CLIENTS` of them."""

    def __init__(
        self, listener: socket.socket, handle: Callable[[BrowserConnection, HttpRequest, bytes], None]
    ) -> None:
        listener.setblocking(False)
        self.listener = listener
        self.clients: set[BrowserConnection] = set()
        self._handle = handle

    def accept(self) -> None:
        """Accept the new connections."""
        for _ in range(MAX_CLIENTS):
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                log.debug("browser disconnected: %s", error)
                break
            if len(self.clients) >= MAX_CLIENTS:
                slowest = min(self.clients, key=lambda each: each.until)
                slowest.close()
                self.clients.discard(slowest)
            self.clients.add(BrowserConnection(connection, peer_uid(connection), self._handle))

    def sweep(self, now: float) -> None:
        """Close connections that are overdue, and forget the closed ones."""
        for client in list(self.clients):
            if now >= client.until:
                client.close()
            if client.closed:
                self.clients.discard(client)

    def close(self) -> None:
        """Close everything; may be called twice."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        self.listener.close()
