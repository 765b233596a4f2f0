"""Requests of the page to the daemon and to the configuration writer: one JSON line each way per connection.

If the answer contains ``bytes``, this number of bytes of a picture follows its line.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

MAX_ANSWER_BYTES: Final = 4 << 20
"""Maximum bytes of an answer with its picture."""
MAX_AT_ONCE: Final = 6
MAX_WAITING: Final = 64
WRITE_SECONDS: Final = 200.0
"""Seconds for an edit; the daemon may take two minutes to read the file and try its models."""
AGAIN: Final = 0.05
"""Seconds until a request is repeated because the daemon could not identify this process yet."""
Answer: TypeAlias = dict[str, Any]
Done: TypeAlias = Callable[[Answer], None]
DoneWithPicture: TypeAlias = Callable[[Answer, bytes], None]
AWAY: Final[Answer] = {"away": True}
"""The answer in place of one that the daemon or the writer did not give."""


class Peers(Protocol):
    """Gives the page connections to the daemon and to the writer."""

    def daemon(self) -> socket.socket:
        """Return a new connection to the daemon's control socket; raises `OSError`."""

    def writer(self) -> socket.socket:
        """Return a new connection to the writer of the configuration; raises `OSError`."""


class SocketPeers:
    """Opens connections to the sockets at these paths."""

    def __init__(self, daemon: Path, writer: Path) -> None:
        self._daemon, self._writer = daemon, writer

    def daemon(self) -> socket.socket:
        """Connect to the daemon."""
        return _connected(self._daemon)

    def writer(self) -> socket.socket:
        """Connect to the writer."""
        return _connected(self._writer)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


class GivenPeers:
    """Gets connections from the process that started this one. They have the rights of that process.

    ``channel`` leads to that process. Each request is one letter, and each answer is one byte with an open file.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def daemon(self) -> socket.socket:
        """Get a connection to the daemon."""
        return self._given(b"d")

    def writer(self) -> socket.socket:
        """Get a connection to the writer."""
        return self._given(b"w")

    def _given(self, letter: bytes) -> socket.socket:
        self._channel.sendall(letter)
        data, files, _, _ = socket.recv_fds(self._channel, 1, 1)
        if not data or not files:
            for file in files:
                os.close(file)
            raise ConnectionRefusedError("the parent sent no connection")
        connection = socket.socket(fileno=files[0])
        connection.setblocking(False)
        return connection


@dataclass(slots=True)
class _Wanted:
    open: Callable[[], socket.socket]
    line: bytes
    until: float
    done: DoneWithPicture
    tries: int = 2


class Query:
    """One request in progress."""

    def __init__(self, wanted: _Wanted) -> None:
        self.wanted = wanted
        self.connection = wanted.open()
        self._unsent = wanted.line
        self._data = bytearray()
        self._found: Answer | None = None
        self.answer: Answer | None = None
        self.picture = b""

    @property
    def events(self) -> int:
        """The poll events to wait for."""
        return selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ

    def ready(self) -> None:
        """Send or receive as much as possible now."""
        try:
            if self._unsent:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            pass
        except (OSError, ValueError, TypeError, RecursionError):
            self.answer = AWAY

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.connection.close()

    def _send(self) -> None:
        self._unsent = self._unsent[self.connection.send(self._unsent) :]

    def _receive(self) -> None:
        part = self.connection.recv(65536)
        self._data += part
        if len(self._data) > MAX_ANSWER_BYTES or not part:
            self.answer = AWAY
            return
        if self._found is None and b"\n" in part:
            line, _, rest = self._data.partition(b"\n")
            found = json.loads(line)
            self._found, self._data = found if isinstance(found, dict) else AWAY, rest
        if self._found is not None and len(self._data) >= self._found.get("bytes", 0):
            self.answer, self.picture = self._found, bytes(self._data)


class Upstream:
    """Sends requests, a few at a time, and forwards the answers."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.queries: set[Query] = set()
        self._waiting: deque[_Wanted] = deque()
        self._later: list[tuple[float, _Wanted]] = []

    @property
    def crowded(self) -> bool:
        """Whether too many requests are already waiting."""
        return len(self._waiting) >= MAX_WAITING

    def ask(self, body: Mapping[str, Any], done: Done, *, seconds: float = 15.0) -> None:
        """Send a request to the daemon; ``done`` gets the answer, or `AWAY`."""
        self._put(self._peers.daemon, body, lambda answer, _: done(answer), seconds)

    def ask_for_picture(self, body: Mapping[str, Any], done: DoneWithPicture, *, seconds: float = 15.0) -> None:
        """Send a request like `ask`; ``done`` also gets the picture, which is empty if the answer has none."""
        self._put(self._peers.daemon, body, done, seconds)

    def write(self, body: Mapping[str, Any], done: Done, *, seconds: float = WRITE_SECONDS) -> None:
        """Send a request to the configuration writer."""
        self._put(self._peers.writer, body, lambda answer, _: done(answer), seconds)

    def due(self) -> float:
        """Return the latest monotonic time of the next `step`."""
        return min((at for at, _ in self._later), default=time.monotonic() + 1.0)

    def step(self, now: float) -> None:
        """Finish complete and overdue requests, and begin waiting ones."""
        for query in list(self.queries):
            if query.answer is None and now >= query.wanted.until:
                query.answer = AWAY
            if query.answer is not None:
                self._finish(query, query.answer, now)
        for entry in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(entry)
            self._waiting.append(entry[1])
        while self._waiting and len(self.queries) < MAX_AT_ONCE:
            wanted = self._waiting.popleft()
            try:
                query = Query(wanted)
            except OSError:
                wanted.done(AWAY, b"")
            else:
                self.queries.add(query)
                query.ready()

    def close(self) -> None:
        """Close all connections; may be called twice."""
        for query in self.queries:
            query.close()
        self.queries.clear()

    def _put(
        self,
        connect: Callable[[], socket.socket],
        body: Mapping[str, Any],
        done: DoneWithPicture,
        seconds: float,
    ) -> None:
        line = json.dumps(body, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        self._waiting.append(_Wanted(connect, line, time.monotonic() + seconds, done))

    def _finish(self, query: Query, answer: Answer, now: float) -> None:
        self.queries.discard(query)
        query.close()
        if answer.get("again"):
            self._again(query.wanted, now)
        else:
            query.wanted.done(answer, query.picture)

    def _again(self, wanted: _Wanted, now: float) -> None:
        wanted.tries -= 1
        if wanted.tries > 0:
            self._later.append((now + AGAIN, wanted))
        else:
            wanted.done(AWAY, b"")
