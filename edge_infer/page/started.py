"""Starts the page's process, which opens no connection itself, and passes connections to it."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from edge_infer.errors import EdgeInferError, StartError
from edge_infer.platform.child_process import go_first, own_module
from edge_infer.platform.environment import for_children

Connect: TypeAlias = Callable[[], socket.socket]
"""Opens a connection; raises `OSError` or `EdgeInferError`."""


class StartedPage:
    """The page's process. It runs until the end of the context, or until it has had no connection for some time."""

    def __init__(
        self,
        listener: socket.socket,
        settings: Mapping[str, str],
        daemon: Connect,
        writer: Connect,
        *,
        output: int | None = None,
    ) -> None:
        """Serve on ``listener``; ``settings`` are those that `edge_infer.page.__main__` reads. Raises `StartError`.

        ``output`` is an open file for its output; None: that of this process.
        """
        self._connect = {b"d": daemon, b"w": writer}
        self._ours, theirs = socket.socketpair()
        words = ("--listen", str(listener.fileno()), "--parent", str(theirs.fileno()))
        try:
            self._process = subprocess.Popen(
                own_module("edge_infer.page", *words),
                pass_fds=(listener.fileno(), theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=for_children(),
            )
        except OSError as error:
            self._ours.close()
            raise StartError(f"cannot start the page: {error.strerror or error}") from error
        finally:
            theirs.close()
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
        self._process.wait()
        self._ours.close()

    def poll(self) -> int | None:
        """Return the exit code of the process; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        return self._process.wait()

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
