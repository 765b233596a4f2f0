"""The control socket: how the command line talks to the running daemon, one JSON line each way a connection."""

from __future__ import annotations

import array
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from edge_infer.codec import JsonValue, dumps
from edge_infer.config.places import DEFAULT_CONFIG, hinted
from edge_infer.errors import EdgeInferError, StartError
from edge_infer.supervisor.ancestry import ticks
from edge_infer.supervisor.peer import Peer, RefusedError, TooYoungError, identify

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"
SYSTEM_SOCKET: Final = Path("/run/edge-infer") / SOCKET_NAME
"""Where the daemon of the unit listens (``RuntimeDirectory=edge-infer``)."""
LONGEST: Final = 8 << 20
"""Bytes of an answer; the longest is a status of two reports, 2 MiB each, whose letters JSON may spell out."""
MAX_REQUEST_BYTES: Final = 1 << 16
MAX_ECHO: Final = 100
"""Characters of a request that an answer repeats."""
LONGEST_ADDRESS: Final = 107
"""Bytes of a path in the kernel's address of a socket (``sun_path`` less its end)."""
MOST_FILES: Final = 4
"""Open files that may come with a request."""
MAX_FILES_IN_A_MESSAGE: Final = 253
"""As many as the kernel lets one message carry: all are received, so that each is closed as `_close_file` does."""
BACKLOG: Final = 128
"""Connections that wait to be accepted; the kernel turns others away."""
MOST_AT_ONCE: Final = 128
"""Connections that are accepted before others have their turn."""
MAX_UNREAD_ANSWERS: Final = 16
READ_WITHIN: Final = 10.0
"""Seconds that a client has to read an answer which is longer than what the kernel holds for it."""
BUSY_AGAIN: Final = 0.02
"""Seconds after which a client that was turned away tries again."""
LOG_EVERY: Final = 60.0
"""Seconds between two log lines about refused processes."""
AGAIN: Final = 0.05
"""Seconds after which a process that is too young asks again: some ticks of the clock that its age is measured by."""
Send: TypeAlias = Callable[[socket.socket, bytes], None]
"""Sends an answer and hangs up, whenever the client reads it."""
Identify: TypeAlias = Callable[[socket.socket, int], Peer]
"""See `identify`."""


class NotRunningError(EdgeInferError, ConnectionError):
    """No daemon listens on the control socket, or not to this user."""

    exit_code = 1


def socket_path(state_dir: str | Path) -> Path:
    """Where the daemon of this state directory listens: ``$RUNTIME_DIRECTORY``, or the state directory itself."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or state_dir) / SOCKET_NAME


def find_socket(config: Path) -> Path:
    """The control socket of the daemon that runs this configuration, even one that is broken now.

    The first that is there of: ``$RUNTIME_DIRECTORY``, the state directory that the file names, ``/run/edge-infer``.
    Raises `NotRunningError` where there is neither a socket nor the file, because of a path with a slip in it.
    """
    own = socket_path(hinted(config))
    candidates = (own, SYSTEM_SOCKET) if config == DEFAULT_CONFIG else (own,)
    seen = {path: _is_there(path) for path in candidates}
    there = (path for answer in (True, None) for path, seen_so in seen.items() if seen_so is answer)
    found = next(there, None)
    if found is None and config != DEFAULT_CONFIG and _is_there(config) is False:
        raise NotRunningError(f"there is no {config}, and without it no daemon on {own}; name its file with -c")
    return found or candidates[-1]


def _is_there(path: Path) -> bool | None:
    """Whether it exists; None: its folder is closed to this user, and connecting says so."""
    try:
        path.lstat()
    except PermissionError:
        return None
    except OSError:
        return False
    return True


def ask(path: Path, request: Mapping[str, JsonValue], files: tuple[int, ...] = (), timeout: float = 150.0) -> Any:
    """Sends one request with open files and waits for the answer.

    Raises `NotRunningError`, `RefusedError` or `EdgeInferError`.
    """
    answer = _ask(path, request, files, timeout)
    if isinstance(answer, dict) and answer.get("again"):
        time.sleep(AGAIN)
        answer = _ask(path, request, files, timeout)
    if isinstance(answer, dict) and "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    return answer


def _ask(path: Path, request: Mapping[str, JsonValue], files: tuple[int, ...], timeout: float) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with _address(path) as address:
                _connect(connection, address, timeout)
        except BlockingIOError as error:
            raise EdgeInferError(
                f"the daemon on {path} is busy: too many programs ask it at once; look which, or try again"
            ) from error
        except PermissionError as error:
            raise NotRunningError(f"this user may not ask the daemon on {path}; ask as root, with sudo") from error
        except OSError as error:
            raise NotRunningError(
                f"no daemon answers on {path} ({error.strerror or error}); start it with: edge-infer run"
            ) from error
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
            with suppress(BrokenPipeError):  # refused already, and the answer says why
                connection.sendmsg([dumps(dict(request)) + b"\n"], rights)
            answer = _read_line(connection)
        except OSError as error:
            raise EdgeInferError(f"the daemon on {path} did not answer: {error}") from error
    if not answer.endswith(b"\n"):
        raise EdgeInferError(f"the daemon on {path} hung up without an answer; it may be stopping")
    return json.loads(answer)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """What a socket at this path is bound or connected to: a path that is too long begins at its folder."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connect(connection: socket.socket, address: str, timeout: float) -> None:
    """Waits while too many others wait to be accepted; raises `BlockingIOError` when that lasts too long."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.connect(address)
        except BlockingIOError:
            if time.monotonic() + BUSY_AGAIN > deadline:
                raise
            time.sleep(BUSY_AGAIN)
        else:
            return


def _read_line(connection: socket.socket) -> bytes:
    parts = bytearray()
    while not parts.endswith(b"\n") and len(parts) <= LONGEST:
        part = connection.recv(65536)
        if not part:
            break
        parts += part
    return bytes(parts)


class Request:
    """One connection that has said what it wants; `answer` must be called once, at any later time."""

    def __init__(
        self, connection: socket.socket, peer: Peer, body: Mapping[str, Any], files: tuple[int, ...], send: Send
    ) -> None:
        self._connection = connection
        self._send = send
        self.peer = peer
        self.body = body
        self.files = files

    def answer(self, value: JsonValue) -> None:
        """Sends the answer and hangs up, without waiting; a client that has gone away, or does not read, loses it."""
        self._close_files()
        self._send(self._connection, dumps(value) + b"\n")

    def close(self) -> None:
        """Hangs up; may be called twice."""
        self._close_files()
        _hang_up(self._connection)

    def _close_files(self) -> None:
        for file in self.files:
            _close_file(file)
        self.files = ()


@dataclass(slots=True)
class _Answer:
    """What is left of one that the client has to read before more of it can be sent."""

    connection: socket.socket
    rest: bytes
    until: float

    def flush(self) -> bool:
        """Sends what there is room for; whether that is all, or nobody takes the rest."""
        try:
            self.rest = self.rest[self.connection.send(self.rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return time.monotonic() >= self.until
        except OSError as error:
            log.debug("the client of the control socket has gone: %s", error)
            return True
        return not self.rest


class ControlSocket:
    """The daemon's end: listens, reads requests of people without ever waiting for a slow client."""

    MOST_CLIENTS: Final = 16

    def __init__(self, path: Path, handle: Callable[[Request], None], identify: Identify = identify) -> None:
        self.path = path
        self._handle = handle
        self._identify = identify
        self._quiet = ticks()  # when nobody waited to be accepted
        self._refused = 0
        self._log_at = 0.0
        self._listener: socket.socket | None = None
        self._clients: dict[int, _Client] = {}
        self._answers: list[_Answer] = []

    def __enter__(self) -> ControlSocket:
        """Listens; the caller holds the lock on the state directory, so an old socket file is a left-over."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener = listener
        try:
            self.path.unlink(missing_ok=True)
            mask = os.umask(0o117)  # 0660 from the first moment
            try:
                with _address(self.path) as address:
                    listener.bind(address)
            finally:
                os.umask(mask)
            listener.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise StartError(f"cannot listen on {self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Stops listening and removes the socket file."""
        self.close()

    def close(self) -> None:
        """May be called twice."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        while self._answers:
            _hang_up(self._answers.pop().connection)
        if self._listener is not None:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                for _ in range(BACKLOG):
                    _hang_up(self._listener.accept()[0])
            self._listener.close()
            self._listener = None

    def files(self) -> list[int]:
        """The descriptors to wait on; call `serve` when one is readable."""
        listener = [] if self._listener is None else [self._listener.fileno()]
        return listener + list(self._clients)

    def unsent(self) -> list[int]:
        """The descriptors of clients that have to read on; call `flush` when one is writable, or now and then."""
        return [answer.connection.fileno() for answer in self._answers]

    def flush(self) -> None:
        """Sends what clients have made room for, and hangs up on those that are done or do not read."""
        for answer in [answer for answer in self._answers if answer.flush()]:
            self._answers.remove(answer)
            _hang_up(answer.connection)

    def serve(self, fd: int) -> None:
        """Accepts a client, or reads on; a whole request goes to the handler."""
        client = self._clients.get(fd)
        if client is None:
            self._accept()
            return
        request = client.read()
        if request is not None or client.closed:
            del self._clients[fd]
        if request is not None:
            self._handle(request)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(MOST_AT_ONCE):
            now = ticks()
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                self._quiet = now
                return
            except OSError as error:
                log.debug("a client of the control socket has gone: %s", error)
                return
            try:
                peer = self._identify(connection, self._quiet)
            except RefusedError as error:
                self._refuse(connection, error)
            else:
                self._admit(connection, peer)

    def _admit(self, connection: socket.socket, peer: Peer) -> None:
        if len(self._clients) >= self.MOST_CLIENTS:  # whoever waits longest without a request makes room
            self._clients.pop(next(iter(self._clients))).close()
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection, peer, self._send)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        self._answers.append(_Answer(connection, data, time.monotonic() + READ_WITHIN))
        self.flush()
        if len(self._answers) > MAX_UNREAD_ANSWERS:
            _hang_up(self._answers.pop(0).connection)

    def _refuse(self, connection: socket.socket, error: RefusedError) -> None:
        """Says why, without ever waiting, and hangs up; a refused process takes no place among the clients."""
        again = isinstance(error, TooYoungError)
        with suppress(OSError):
            connection.send(dumps({"refused": str(error), "again": again}) + b"\n", socket.MSG_DONTWAIT)
        _hang_up(connection)
        if again:
            return
        self._refused += 1
        if time.monotonic() >= self._log_at:
            log.warning("control socket: refused a process, %d since the last line: %s", self._refused, error)
            self._refused, self._log_at = 0, time.monotonic() + LOG_EVERY


class _Client:
    def __init__(self, connection: socket.socket, peer: Peer, send: Send) -> None:
        self._connection = connection
        self._send = send
        self._peer = peer
        self._data = bytearray()
        self._files: list[int] = []
        self.closed = False

    def read(self) -> Request | None:
        try:
            data, files, _, _ = socket.recv_fds(self._connection, 65536, MAX_FILES_IN_A_MESSAGE)
        except BlockingIOError:
            return None
        except OSError:
            data, files = b"", []
        self._data += data
        self._files += files
        if not data or len(self._data) > MAX_REQUEST_BYTES or len(self._files) > MOST_FILES:
            self.close()
            return None
        if not self._data.endswith(b"\n"):
            return None
        try:
            body = json.loads(self._data)
            dumps(body)  # half a character, or no number: what cannot be said to a room, or in an answer
        except (ValueError, RecursionError):
            body = None
        request = Request(
            self._connection, self._peer, body if isinstance(body, dict) else {}, tuple(self._files), self._send
        )
        self._files = []
        return request

    def close(self) -> None:
        for file in self._files:
            _close_file(file)
        self._files = []
        _hang_up(self._connection)
        self.closed = True


def _hang_up(connection: socket.socket) -> None:
    """Closes a connection, and every file in it that nobody has received; may be called twice."""
    with suppress(OSError, ValueError):
        connection.shutdown(socket.SHUT_RD)  # nothing more comes
        while True:
            data, files, _, _ = socket.recv_fds(connection, 65536, MAX_FILES_IN_A_MESSAGE, socket.MSG_DONTWAIT)
            for file in files:
                _close_file(file)
            if not data:
                break
    connection.close()


def _close_file(file: int) -> None:
    """Closes a file of a client: a socket may be set to hold up, for hours, whoever closes it last."""
    with suppress(OSError):  # of any other kind
        passed = socket.socket(fileno=file)
        try:
            passed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        finally:
            passed.detach()
    os.close(file)
