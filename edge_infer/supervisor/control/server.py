"""Control socket: the command line sends a request to the running daemon as one JSON line and receives one JSON line.

Each connection carries one request. If the answer contains ``bytes``, this number of bytes of a picture follows its
line.
"""

from __future__ import annotations

import array
import json
import logging
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from edge_infer.contract.codec import JsonValue, dumps
from edge_infer.errors import EdgeInferError, StartError
from edge_infer.platform.paths import (
    DEFAULT_CONFIG,
    ROOT_STATE,
    config_option,
    default_state_dir,
    hinted,
    named_state_dir,
    start_command,
)
from edge_infer.platform.permissions import or_join_the_group
from edge_infer.supervisor.control.files import MAX_PICTURE_BYTES, FileCloser, SentPicture
from edge_infer.supervisor.control.peer import EndedError, Peer, RefusedError, TooYoungError, identify, ticks, user_name
from edge_infer.yamlfile.scalars import plain

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"
SYSTEM_SOCKET: Final = Path("/run/edge-infer") / SOCKET_NAME
"""The control socket of the systemd unit (``RuntimeDirectory=edge-infer``)."""
LONGEST: Final = 8 << 20
"""Maximum bytes of an answer. The longest is a status with two reports of 2 MiB each, whose characters JSON may
escape."""
MAX_REQUEST_BYTES: Final = 1 << 16
MAX_ECHO: Final = 100
"""Maximum number of characters of a request that an answer repeats."""
LONGEST_ADDRESS: Final = 107
"""Maximum bytes of a path in the kernel's socket address (``sun_path`` without its terminator)."""
MOST_FILES: Final = 4
"""Maximum number of open files that may come with a request."""
MAX_FILES_IN_A_MESSAGE: Final = 253
"""The kernel's limit for one message. All files are received, so that `_close_file` can close each of them."""
BACKLOG: Final = 128
"""Number of connections that may wait to be accepted; the kernel rejects further ones."""
MOST_AT_ONCE: Final = 128
"""Maximum number of connections that are accepted before other work continues."""
MAX_UNREAD_ANSWERS: Final = 16
READ_WITHIN: Final = 10.0
"""Seconds in which a client must read an answer, with its picture, that is longer than the kernel's buffer."""
READ_SOME_WITHIN: Final = 3.0
"""Seconds in which a client must read more of a picture, because the next picture of the same user waits for it."""
BUSY_AGAIN: Final = 0.02
"""Seconds after which a rejected client tries again."""
LOG_EVERY: Final = 60.0
"""Minimum seconds between two log lines about refused processes."""
AGAIN: Final = 0.05
"""Seconds after which a process asks again that got `TooYoungError`: some ticks of the clock that measures its age."""
MAX_UNCLOSED_FILES: Final = 256
"""Maximum number of client files that wait to be closed. Closing may block for ever if the client itself serves the
file system.

While so many files wait, this process receives no further file, so that it does not run out of descriptors.
"""
MAX_UNCLOSED_CONNECTIONS: Final = 64
"""Maximum number of connections that wait to be closed and contain files that were not received. While so many wait, no
connection is accepted."""
_FILES: Final = FileCloser(MAX_UNCLOSED_FILES)
_CONNECTIONS: Final = FileCloser(MAX_UNCLOSED_CONNECTIONS)
Identify: TypeAlias = Callable[[socket.socket, int], Peer]
"""See `identify`."""


class Send(Protocol):
    """Sends an answer and a picture behind it, and closes the connection as soon as the client has read both."""

    def __call__(self, connection: socket.socket, data: bytes, picture: SentPicture | None = None, /) -> None:
        """Queue the answer; the picture is closed at the end."""


class NotRunningError(EdgeInferError, ConnectionError):
    """No daemon listens on the control socket, or this user may not connect to it."""

    exit_code = 1


def socket_path(state_dir: str | Path) -> Path:
    """Return the socket path for this state directory: in ``$RUNTIME_DIRECTORY``, or in the state directory itself."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or state_dir) / SOCKET_NAME


def find_socket(config: Path) -> Path:
    """Return the control socket of the daemon that runs this configuration, even if the file is invalid now.

    It is the first of these that exists: in ``$RUNTIME_DIRECTORY``; in the state directory that the file names; for the
    default configuration, in ``/run/edge-infer``. Raises `NotRunningError` if there is none, and the file does not
    exist or names no state directory.
    """
    own = socket_path(hinted(config))
    candidates = (own, SYSTEM_SOCKET) if config == DEFAULT_CONFIG else (own,)
    seen = {path: _is_there(path) for path in candidates}
    there = (path for answer in (True, None) for path, seen_so in seen.items() if seen_so is answer)
    found = next(there, None)
    if found is None and config != DEFAULT_CONFIG and _is_there(config) is False:
        raise NotRunningError(
            f"{config} does not exist, and no daemon answers on {own}; name the daemon's file with -c"
        )
    if (
        found is None
        and config != DEFAULT_CONFIG
        and own.parent == default_state_dir()
        and named_state_dir(config) is None
    ):
        raise NotRunningError(
            f"no daemon answers on {own}, the default, because {config} names no device: state_dir:; start it with: "
            f"{start_command(config)}"
        )
    _configs[found or candidates[-1]] = config
    return found or candidates[-1]


_configs: dict[Path, Path] = {}
"""The configuration of each socket that `find_socket` returned. Error messages need it to name the command that starts
the daemon."""


def _is_there(path: Path) -> bool | None:
    """Return whether the path exists.

    Return None if this user may not enter its folder; connecting then raises the error.
    """
    try:
        path.lstat()
    except PermissionError:
        return None
    except OSError:
        return False
    return True


def ask(
    path: Path, request: Mapping[str, JsonValue], files: tuple[int, ...] = (), timeout: float = 150.0
) -> dict[str, Any]:
    """Send one request with open files and wait for the answer.

    Raises `NotRunningError`, `RefusedError` or `EdgeInferError`.
    """
    return _answered(path, request, files, timeout)[0]


def ask_for_picture(path: Path, request: Mapping[str, JsonValue], timeout: float) -> tuple[dict[str, Any], bytes]:
    """Send one request and wait for the answer and its picture, which is empty if the answer has none.

    Raises the same errors as `ask`.
    """
    return _answered(path, request, (), timeout)


def _answered(
    path: Path, request: Mapping[str, JsonValue], files: tuple[int, ...], timeout: float
) -> tuple[dict[str, Any], bytes]:
    answer, picture = _ask(path, request, files, timeout)
    if answer.get("again"):
        time.sleep(AGAIN)
        answer, picture = _ask(path, request, files, timeout)
    if "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    return answer, picture


def _start_command(path: Path) -> str:
    if path == SYSTEM_SOCKET:
        return start_command()
    return f"edge-infer run{config_option(_configs.get(path, DEFAULT_CONFIG))}"


def _ask(
    path: Path, request: Mapping[str, JsonValue], files: tuple[int, ...], timeout: float
) -> tuple[dict[str, Any], bytes]:
    with connected(path, timeout) as connection:
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
            with suppress(BrokenPipeError):  # refused already; the answer contains the reason
                connection.sendmsg([dumps(dict(request)) + b"\n"], rights)
            line, end, rest = _read_line(connection).partition(b"\n")
            if not end:
                raise EdgeInferError(
                    f"the daemon on {path} closed the connection without an answer; it may be stopping"
                )
            answer = _object(path, line)
            return answer, _read_picture(connection, rest, answer.get("bytes", 0))
        except OSError as error:
            raise EdgeInferError(f"the daemon on {path} did not answer: {error}") from error


def connected(path: Path, timeout: float) -> socket.socket:
    """Return a connection to the daemon's socket; raises `NotRunningError` or `EdgeInferError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _address(path) as address:
            _connect(connection, address, timeout)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise _unreached(path, error) from error
        raise
    return connection


def _unreached(path: Path, error: OSError) -> EdgeInferError:
    if isinstance(error, BlockingIOError):
        return EdgeInferError(
            f"the daemon on {path} is busy: too many programs connect to it at once; find out which, or try again"
        )
    if isinstance(error, PermissionError):
        return NotRunningError(_closed(path))
    return NotRunningError(
        f"no daemon answers on {path} ({error.strerror or error}); start it with: {_start_command(path)}"
    )


def _closed(path: Path) -> str:
    """Return the error for a socket to which this user may not connect, or whose folder this user may not enter."""
    if _is_there(path):
        remedy = f"run the command as root, with sudo{or_join_the_group(path)}"
        return f"this user may not connect to the daemon on {path}; {remedy}"
    if path.parent == ROOT_STATE and not _is_there(SYSTEM_SOCKET):  # the unit removes this folder when it stops
        return (
            f"no daemon answers on {SYSTEM_SOCKET}: the service is stopped or just starting; for a daemon that "
            f"you started by hand on {path}, run the command as root, with sudo"
        )
    return f"no daemon answers on {path}, or this user may not enter its folder; run the command as root, with sudo"


def _object(path: Path, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EdgeInferError(f"the daemon on {path} sent an answer that is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise EdgeInferError(f"the daemon on {path} sent an answer that is not a JSON object; restart it")
    return answer


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield an address for the socket at this path.

    If the path is too long, the address is relative to the open folder.
    """
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connect(connection: socket.socket, address: str, timeout: float) -> None:
    """Connect; retry while the backlog is full. Raises `BlockingIOError` after ``timeout`` seconds."""
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
    """Return the line, and the bytes of a picture behind it that have arrived."""
    parts, part = bytearray(), b""
    while b"\n" not in part and len(parts) <= LONGEST:
        part = connection.recv(65536)
        if not part:
            break
        parts += part
    return bytes(parts)


def _read_picture(connection: socket.socket, begun: bytes, size: object) -> bytes:
    """Return the picture of ``size`` bytes that begins with ``begun``; raises `OSError` if it is incomplete."""
    if type(size) is not int or not 0 <= size <= MAX_PICTURE_BYTES:
        raise OSError(f"{plain(repr(size), MAX_ECHO)} is not the size of a picture")
    data = bytearray(begun)
    while len(data) < size:
        part = connection.recv(1 << 20)
        if not part:
            raise OSError(f"it sent {len(data)} of {size} bytes of a picture; the picture was not read in time")
        data += part
    del data[size:]
    return bytes(data)


class Request:
    """One received request. `answer` must be called exactly once, at any later time."""

    def __init__(
        self, connection: socket.socket, peer: Peer, body: Mapping[str, Any], files: tuple[int, ...], send: Send
    ) -> None:
        self._connection = connection
        self._send = send
        self.peer = peer
        self.body = body
        self.files = files

    @property
    def uid(self) -> int:
        """User id of the person who asks. The page's process names the person at the browser in ``for``."""
        named = self.body.get("for")
        by_page = type(named) is int and 0 <= named < 1 << 32 and self.peer.is_page
        return named if by_page and named is not None else self.peer.uid

    @property
    def user(self) -> str:
        """Name of the person who asks."""
        return user_name(self.uid)

    def answer(self, value: JsonValue) -> None:
        """Queue the answer without waiting, then close. A client that disconnects or does not read loses the answer."""
        self._close_files()
        self._send(self._connection, dumps(value) + b"\n")

    def answer_with(self, value: Mapping[str, JsonValue], picture: SentPicture) -> None:
        """Answer like `answer`, with the bytes of the picture behind the line. The picture is closed at the end."""
        self._close_files()
        self._send(self._connection, dumps({**value, "bytes": picture.size}) + b"\n", picture)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._close_files()
        _hang_up(self._connection)

    def _close_files(self) -> None:
        _FILES.close(self.files)
        self.files = ()


@dataclass(slots=True)
class _UnreadAnswer:
    """The rest of an answer and of its picture, which waits until the client reads more."""

    connection: socket.socket
    rest: bytes
    until: float
    picture: SentPicture | None = None
    some_until: float = math.inf

    def flush(self) -> bool:
        """Send as much as the client accepts. Return True if the answer is complete or must be abandoned."""
        try:
            if self.rest:
                self.rest = self.rest[self.connection.send(self.rest, socket.MSG_DONTWAIT) :]
            if not self.rest and self.picture is not None:
                before = self.picture.left
                try:
                    self.picture.send(self.connection)
                finally:
                    if self.picture.left < before or self.some_until == math.inf:
                        self.some_until = time.monotonic() + READ_SOME_WITHIN
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("control socket: client disconnected: %s", error)
            return True
        complete = not self.rest and (self.picture is None or not self.picture.left)
        return complete or time.monotonic() >= min(self.until, self.some_until)

    def end(self) -> None:
        """Free the picture and close the connection; may be called twice."""
        if self.picture is not None:
            self.picture.close()
        _hang_up(self.connection)


class ControlSocket:
    """The daemon's end of the socket. It accepts connections and reads requests, and never waits for a slow client."""

    MOST_CLIENTS: Final = 16

    def __init__(self, path: Path, handle: Callable[[Request], None], identify: Identify = identify) -> None:
        self.path = path
        self._handle = handle
        self._identify = identify
        self._quiet = ticks()  # the last time at which no connection waited
        self._refused = 0
        self._log_at = 0.0
        self._listener: socket.socket | None = None
        self._clients: dict[int, _ControlClient] = {}
        self._answers: list[_UnreadAnswer] = []

    def __enter__(self) -> ControlSocket:
        """Listen. The caller holds the lock on the state directory, so an existing socket file is a leftover."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener = listener
        try:
            self.path.unlink(missing_ok=True)
            mask = os.umask(0o117)  # the file has mode 0660 from the first moment
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
        """Stop listening and remove the socket file."""
        self.close()

    def close(self) -> None:
        """Close all connections and the listener; may be called twice."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        while self._answers:
            self._answers.pop().end()
        if self._listener is not None:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                for _ in range(BACKLOG):
                    _hang_up(self._listener.accept()[0])
            self._listener.close()
            self._listener = None

    def files(self) -> list[int]:
        """Return the descriptors to wait on; call `serve` when one is readable."""
        listener = [] if self._listener is None or _CONNECTIONS.full else [self._listener.fileno()]
        return listener + list(self._clients)

    def unsent(self) -> list[int]:
        """Return the descriptors of clients that have not read their answer.

        Call `flush` when one is writable, or periodically.
        """
        return [answer.connection.fileno() for answer in self._answers]

    def flush(self) -> None:
        """Send what clients accept. Close the connections that are done or that do not read in time."""
        for answer in [answer for answer in self._answers if answer.flush()]:
            self._answers.remove(answer)
            answer.end()

    def serve(self, fd: int) -> None:
        """Accept a client or read more of its request. A complete request goes to the handler."""
        client = self._clients.get(fd)
        if client is None:
            self._accept()
            return
        try:
            request = client.read()
        except RefusedError as error:
            del self._clients[fd]
            client.close_files()
            self._log_refusal(error)
            self._send(client.connection, dumps({"refused": str(error)}) + b"\n")
            return
        if request is not None or client.closed:
            del self._clients[fd]
        if request is not None:
            self._handle(request)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(MOST_AT_ONCE):
            if _CONNECTIONS.full:
                return
            now = ticks()
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                self._quiet = now
                return
            except OSError as error:
                log.debug("control socket: client disconnected: %s", error)
                return
            try:
                peer = self._identify(connection, self._quiet)
            except RefusedError as error:
                self._refuse(connection, error)
            else:
                self._admit(connection, peer)

    def _admit(self, connection: socket.socket, peer: Peer) -> None:
        if len(self._clients) >= self.MOST_CLIENTS:
            self._make_room(peer.uid)
        connection.setblocking(False)
        self._clients[connection.fileno()] = _ControlClient(connection, peer, self._send)

    def _make_room(self, newcomer: int) -> None:
        """Close the longest waiting client of the user with the most clients, so that no user locks out the others."""
        users = Counter(each.peer.uid for each in self._clients.values())
        users[newcomer] += 1
        most = max(users, key=lambda uid: users[uid])
        self._clients.pop(next(fd for fd, each in self._clients.items() if each.peer.uid == most)).close()

    def _send(self, connection: socket.socket, data: bytes, picture: SentPicture | None = None, /) -> None:
        self._answers.append(_UnreadAnswer(connection, data, time.monotonic() + READ_WITHIN, picture))
        self.flush()
        if len(self._answers) > MAX_UNREAD_ANSWERS:
            self._answers.pop(0).end()

    def _refuse(self, connection: socket.socket, error: RefusedError) -> None:
        """Send the reason and close, without ever waiting. A refused process does not occupy a client slot."""
        again = isinstance(error, TooYoungError)
        with suppress(OSError):
            connection.send(dumps({"refused": str(error), "again": again}) + b"\n", socket.MSG_DONTWAIT)
        _hang_up(connection)
        if isinstance(error, EndedError):
            log.debug("control socket: %s", error)
        elif not again:
            self._log_refusal(error)

    def _log_refusal(self, error: RefusedError) -> None:
        self._refused += 1
        if time.monotonic() >= self._log_at:
            log.warning(
                "control socket: connections refused since the last such line: %d; the latest: %s", self._refused, error
            )
            self._refused, self._log_at = 0, time.monotonic() + LOG_EVERY


class _ControlClient:
    def __init__(self, connection: socket.socket, peer: Peer, send: Send) -> None:
        self.connection = connection
        self._send = send
        self.peer = peer
        self._data = bytearray()
        self._files: list[int] = []
        self.closed = False

    def read(self) -> Request | None:
        """Return the request if it is complete now. Raises `RefusedError` while no files can be received."""
        try:
            data, files = _receive(self.connection)
        except BlockingIOError:
            return None
        except RefusedError:
            raise
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
            dumps(body)  # rejects lone surrogates and non-finite numbers, which no message or answer may contain
        except (ValueError, RecursionError):
            body = None
        request = Request(
            self.connection, self.peer, body if isinstance(body, dict) else {}, tuple(self._files), self._send
        )
        self._files = []
        return request

    def close_files(self) -> None:
        _FILES.close(self._files)
        self._files = []

    def close(self) -> None:
        self.close_files()
        _hang_up(self.connection)
        self.closed = True


def _receive(connection: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """Receive data with its files.

    While too many earlier files are still open, no file is received: it stays in the connection, and `RefusedError` is
    raised.
    """
    if not _FILES.full:
        data, files, _, _ = socket.recv_fds(connection, 65536, MAX_FILES_IN_A_MESSAGE, flags)
        return data, files
    data, _, found, _ = connection.recvmsg(65536, 0, flags | socket.MSG_PEEK)
    if found & socket.MSG_CTRUNC:  # there are files, which a peek does not receive
        raise RefusedError(
            f"the daemon accepts no files now, because it cannot close {_FILES.most} of earlier requests: end the "
            "program that serves their file system (FUSE), or unmount it"
        )
    return connection.recv(len(data), flags), []


def _hang_up(connection: socket.socket) -> None:
    """Close a connection and every file in it that was not received, without waiting; may be called twice."""
    try:
        connection.shutdown(socket.SHUT_RD)  # no more data can arrive
        data = b"?"
        while data:
            data, files = _receive(connection, socket.MSG_DONTWAIT)
            _FILES.close(files)
    except RefusedError:  # the kernel closes these files together with the connection, which may block, too
        _CONNECTIONS.close((connection.detach(),))
    except (OSError, ValueError):
        pass
    connection.close()
