"""A browser that views the local page of the audited processes: pictures may only pass through its socket."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Final

from edge_infer.supervisor.control.page_relay import relayed
from edge_infer.supervisor.control.peer import Peer
from edge_infer.supervisor.control.requests import PendingPictures
from edge_infer.supervisor.control.server import ControlSocket, Request
from edge_infer.supervisor.page_process import StartedPage
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor

HOST: Final = "localhost"
PAUSE: Final = 0.5
SECONDS: Final = 20.0
"""Seconds within which an answer must arrive."""


class PageViewer:
    """Views sources through a real page process, driven by `step`.

    ``seen`` is all data that came through its socket.
    """

    def __init__(self, house: ProcessSupervisor, folder: Path, sources: Iterable[str]) -> None:
        """Create the sockets in ``folder``."""
        self.seen = bytearray()
        self.pictures = 0
        self._sources = tuple(sources)
        self._path = folder / "page.sock"
        self._pictures = PendingPictures(house)
        self._control = ControlSocket(folder / "control.sock", self._handle, _known)
        self._output = Output("page")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> PageViewer:
        with ExitStack() as stack:
            stack.enter_context(self._control)
            stack.callback(self._pictures.close)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(self._path))
            listener.listen()
            control = self._control.path
            settings = {"why_not": "the audit saves nothing", "state_dir": str(control.parent)}
            output = stack.enter_context(self._output)
            stack.enter_context(StartedPage(listener, settings, lambda: relayed(lambda: control), _no_writer, output))
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._stack.__exit__(kind, error, trace)
        self._thread.join(SECONDS)

    def files(self) -> list[int]:
        """Return the descriptors to wait on. Call `step` when one is readable, and periodically."""
        return [*self._control.files(), *self._output.files()]

    def unsent(self) -> list[int]:
        """Return the descriptors to wait on until they are writable; then call `step`."""
        return self._control.unsent()

    def step(self, ready: Iterable[int]) -> None:
        """Forward requests of the page, and the pictures that the engine has delivered."""
        for file in set(ready).intersection(self._control.files()):
            self._control.serve(file)
        self._control.flush()
        self._output.read()
        self._pictures.go_on()

    def _handle(self, request: Request) -> None:
        if request.body.get("do") == "look":
            self._pictures.begin(request)
        else:
            request.answer({"error": "the audit answers only requests for pictures"})

    def _look(self) -> None:
        """Send requests as the page's script does, until the end."""
        while not self._stop.wait(PAUSE):
            for source in self._sources:
                try:
                    self._take(source)
                except (OSError, http.client.HTTPException, ValueError):  # the page process is starting, or has ended
                    break

    def _take(self, source: str) -> None:
        described = self._get(f"/api/look?source={source}")
        if place := json.loads(described).get("picture"):
            self._get(place)
            self.pictures += 1

    def _get(self, target: str) -> bytes:
        with closing(http.client.HTTPConnection(HOST, timeout=SECONDS)) as connection:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(SECONDS)
            connection.sock.connect(str(self._path))
            connection.request("GET", target, headers={"X-Edge-Infer": "page"})
            data = connection.getresponse().read()
        self.seen += data
        return data


def _known(_connection: socket.socket, _quiet: int) -> Peer:
    """Return the peer of any connection: the socket's folder belongs to the audit, which opens all connections."""
    return Peer(0, 0, frozenset())


def _no_writer() -> socket.socket:
    raise ConnectionRefusedError
