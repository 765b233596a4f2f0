"""Relay between a page's process and the daemon; it runs in the command that started the page's process.

The command may run as root, and a connection has the rights of the process that opened it. Therefore the page's process
gets no connection to the daemon. It sends its requests to the relay, which repeats those that `PAGE_MAY` allows over a
connection of its own.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge_infer.contract.codec import dumps
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control.page_requests import refusal_for_page
from edge_infer.supervisor.control.peer import RefusedError
from edge_infer.supervisor.control.server import MAX_REQUEST_BYTES, ask_for_picture

MAX_AT_ONCE: Final = 8
"""Maximum number of requests in progress; the page's process makes at most six."""
REQUEST_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 20.0
_slots: Final = threading.BoundedSemaphore(MAX_AT_ONCE)


def relayed(find: Callable[[], Path]) -> socket.socket:
    """Return a connection for one request of the page. ``find`` returns the daemon's control socket.

    The connection closes without an answer if the daemon gives none. Raises `OSError` while too many requests are in
    progress.
    """
    return served(lambda connection: _relay(connection, find), _slots)


def served(serve: Callable[[socket.socket], None], slots: threading.BoundedSemaphore) -> socket.socket:
    """Return a connection that a thread serves and closes. Raises `OSError` while no connection slot is free."""

    def run(connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError, EdgeInferError):
                serve(connection)
        finally:
            slots.release()

    if not slots.acquire(blocking=False):
        raise OSError(errno.EAGAIN, "too many requests of the page are in progress")
    try:
        ours, theirs = socket.socketpair()
        threading.Thread(target=run, args=(ours,), daemon=True).start()
    except BaseException:
        slots.release()
        raise
    return theirs


def _relay(connection: socket.socket, find: Callable[[], Path]) -> None:
    connection.settimeout(REQUEST_SECONDS)
    body = _request(connection)
    if body is not None:
        answer, picture = _answer(body, find)
        connection.sendall(dumps(answer) + b"\n" + picture)


def _request(connection: socket.socket) -> dict[str, Any] | None:
    """Return the request; None if the message is no request. Files that came with it are lost."""
    data = bytearray()
    while not data.endswith(b"\n"):
        part = connection.recv(65536)
        data += part
        if not part or len(data) > MAX_REQUEST_BYTES:
            return None
    try:
        body = json.loads(data)
        dumps(body)  # rejects content that no request may have, such as infinite numbers
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _answer(body: dict[str, Any], find: Callable[[], Path]) -> tuple[dict[str, Any], bytes]:
    if (refusal := refusal_for_page(body)) is not None:
        return {"error": refusal}, b""
    try:
        return ask_for_picture(find(), body, ANSWER_SECONDS)
    except RefusedError as error:
        return {"refused": str(error)}, b""
