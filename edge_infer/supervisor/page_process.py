"""Starts the page's process, which opens no connection itself, passes connections to it and limits its output."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from edge_infer.errors import EdgeInferError, StartError
from edge_infer.platform.child_process import go_first, own_module
from edge_infer.platform.environment import only_harmless
from edge_infer.platform.event_loop import readable
from edge_infer.supervisor.processes.output import Output

Connect: TypeAlias = Callable[[], socket.socket]
"""Opens a connection; raises `OSError` or `EdgeInferError`."""
STOP_SECONDS: Final = 4.0
"""Seconds in which the process must end after SIGTERM; then it is killed."""


class StartedPage:
    """The page's process. It runs until the end of the context, or until it has had no connection for some time."""

    def __init__(
        self,
        listener: socket.socket,
        settings: Mapping[str, str],
        daemon: Connect,
        writer: Connect,
        output: Output,
    ) -> None:
        """Serve on ``listener``; ``settings`` are those that `edge_infer.page.__main__` reads. Raises `StartError`.

        ``output`` limits and forwards the output of the process; `wait` reads it.
        """
        self._connect = {b"d": daemon, b"w": writer}
        self._output = output
        self._ours, theirs = socket.socketpair()
        words = ("--listen", str(listener.fileno()), "--parent", str(theirs.fileno()))
        lines = -1
        try:
            lines = output.open()
            self._process = subprocess.Popen(
                own_module("edge_infer.page", *words),
                pass_fds=(listener.fileno(), theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                start_new_session=True,  # the user that root became must not get root's terminal
                env=only_harmless(),  # the process reads what browsers send
            )
        except OSError as error:
            self._ours.close()
            raise StartError(f"cannot start the page: {error.strerror or error}") from error
        finally:
            theirs.close()
            if lines >= 0:
                os.close(lines)
        go_first(self._process.pid)  # so that a lack of memory ends the page, not this process, which limits it
        try:
            self._ours.sendall(json.dumps(dict(settings)).encode() + b"\n")
        except OSError as error:
            self.__exit__()
            raise StartError(f"the page ended at its start: {error.strerror or error}") from error

    def __enter__(self) -> StartedPage:
        threading.Thread(target=self._give, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._ours.close()

    def wait(self) -> int:
        """Forward the output of the process until it ends; return its exit code."""
        while (code := self._process.poll()) is None:
            readable(self._output.files(), timeout=self._output.due() - time.monotonic())
            self._output.read()
        return code

    def _give(self) -> None:
        """Open a connection for each request of the page's process and pass it on, until that process ends."""
        with suppress(OSError):
            while letter := self._ours.recv(1):
                try:
                    connection = self._connect[letter]()
                except (OSError, EdgeInferError, KeyError):
                    self._ours.sendall(b"x")
                    continue
                with connection:
                    socket.send_fds(self._ours, [b"f"], [connection.fileno()])
