"""The control socket: how the command line talks to the running daemon, one JSON line each way a connection."""

from __future__ import annotations

import array
import json
import logging
import os
import pwd
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edge_infer.codec import JsonValue, dumps
from edge_infer.config.places import DEFAULT_CONFIG, hinted
from edge_infer.errors import EdgeInferError, StartError
from edge_infer.supervisor.peer import is_room

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"
SYSTEM_SOCKET: Final = Path("/run/edge-infer") / SOCKET_NAME
"""Where the daemon of the unit listens (``RuntimeDirectory=edge-infer``)."""
LONGEST: Final = 1 << 20
"""Bytes of a request or an answer."""
LONGEST_ADDRESS: Final = 107
"""Bytes of a path in the kernel's address of a socket (``sun_path`` less its end)."""
MOST_FILES: Final = 4
"""Open files that may come with a request."""


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
    """Sends one request with open files and waits for the answer; raises `NotRunningError`, `EdgeInferError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with _address(path) as address:
                connection.connect(address)
        except PermissionError as error:
            raise NotRunningError(f"this user may not ask the daemon on {path}; ask as root, with sudo") from error
        except OSError as error:
            raise NotRunningError(
                f"no daemon answers on {path} ({error.strerror or error}); start it with: edge-infer run"
            ) from error
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
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

    def __init__(self, connection: socket.socket, body: Mapping[str, Any], files: tuple[int, ...]) -> None:
        self._connection = connection
        self.body = body
        self.files = files

    @property
    def user(self) -> str:
        """Who asks, as the kernel knows."""
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", credentials)[1]
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"

    def answer(self, value: JsonValue) -> None:
        """Sends the answer and hangs up; a client that has gone away loses it."""
        try:
            self._connection.settimeout(1.0)
            self._connection.sendall(dumps(value) + b"\n")
        except OSError as error:
            log.debug("the client of the control socket has gone: %s", error)
        self.close()

    def close(self) -> None:
        """Hangs up; may be called twice."""
        for file in self.files:
            os.close(file)
        self.files = ()
        self._connection.close()


class ControlSocket:
    """The daemon's end: listens, reads requests without ever waiting for a slow client."""

    MOST_CLIENTS: Final = 16

    def __init__(self, path: Path, handle: Callable[[Request], None]) -> None:
        self.path = path
        self._handle = handle
        self._listener: socket.socket | None = None
        self._clients: dict[int, _Client] = {}

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
            listener.listen(8)
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
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def files(self) -> list[int]:
        """The descriptors to wait on; call `serve` when one is readable."""
        listener = [] if self._listener is None else [self._listener.fileno()]
        return listener + list(self._clients)

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
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log.debug("a client of the control socket has gone: %s", error)
            return
        if is_room(connection):
            log.warning("a room has tried to ask over the control socket; it was not answered")
            connection.close()
            return
        if len(self._clients) >= self.MOST_CLIENTS:  # whoever waits longest without a request makes room
            self._clients.pop(next(iter(self._clients))).close()
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection)


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()
        self._files: list[int] = []
        self.closed = False

    def read(self) -> Request | None:
        try:
            data, files, _, _ = socket.recv_fds(self._connection, 65536, MOST_FILES)
        except BlockingIOError:
            return None
        except OSError:
            data, files = b"", []
        self._data += data
        self._files += files
        if not data or len(self._data) > LONGEST or len(self._files) > MOST_FILES:
            self.close()
            return None
        if not self._data.endswith(b"\n"):
            return None
        try:
            body = json.loads(self._data)
            dumps(body)  # half a character, or no number: what cannot be said to a room, or in an answer
        except (ValueError, RecursionError):
            body = None
        request = Request(self._connection, body if isinstance(body, dict) else {}, tuple(self._files))
        self._files = []
        return request

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files = []
        self._connection.close()
        self.closed = True
