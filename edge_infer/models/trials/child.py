"""A short-lived child process for work that may crash: one question, one answer, within a time limit."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from edge_infer.contract.codec import decode_json, dumps, joined
from edge_infer.errors import StartError, WireError
from edge_infer.models.trials.messages import Ready
from edge_infer.platform.child_process import go_first, own_module
from edge_infer.platform.closing import Closing
from edge_infer.platform.environment import for_children
from edge_infer.platform.logs import CHAT, printable
from edge_infer.sandbox.fence import Fence

STARTUP: Final = 30.0
"""Seconds until the child must be ready. A slow card may have to read NumPy, OpenCV and the runtime for the first
time."""
LONGEST: Final = 16 << 20
CHATTER: Final = 4000


class GoneError(Exception):
    """The child gave no answer: it ended with ``status`` (as in `subprocess`), closed its output, or timed out."""

    def __init__(self, status: int | None = None, said: str = "", *, mute: bool = False) -> None:
        super().__init__(status, said, mute)
        self.status = status
        self.mute = mute
        """Whether the child closed its output or sent an endless answer, so that the parent killed it."""
        self.said = said
        """The last line of the child's standard error, formatted as the end of a sentence."""


class TrialProcess(Closing):
    """A process ``python -m MODULE FENCE`` that starts at `begin` or with its question, and answers one question.

    The process can read only the files that come with the question and the files that ``fence`` allows.
    """

    def __init__(self, module: str, fence: Fence | None = None) -> None:
        self._module = module
        self._fence = fence or Fence()
        self._process: subprocess.Popen[bytes] | None = None
        self._way: socket.socket | None = None
        self._chatter = b""
        self.seconds = 0.0
        """Seconds from the question to the answer."""

    @property
    def pid(self) -> int | None:
        """Process id while the process runs, else None."""
        return self._process.pid if self._process is not None else None

    def begin(self) -> None:
        """Start the process early, so that its imports are done when the question comes; raises `StartError`."""
        if self._process is not None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                try:
                    self._process = self._started(theirs)
                except OSError:
                    ours.close()
                    raise
            go_first(self._process.pid)
        except OSError as error:
            raise StartError(f"cannot start a process that tries models: {error.strerror or error}") from error
        ours.setblocking(False)
        self._way, self._chatter = ours, b""

    def ask(self, question: object, seconds: float, files: Sequence[int] = ()) -> bytes:
        """Send the question and return the answer line.

        Raises `StartError` if no model can be tried on this machine, and `GoneError` if the child gives no answer.
        """
        self.begin()
        process = self._process
        assert process is not None
        order = dumps(question) + b"\n"
        try:
            self._wait_ready(process)
            begun = time.monotonic()
            answer = self._exchange(process, order, files, begun + seconds)
            self.seconds = time.monotonic() - begun
        except (BrokenPipeError, ConnectionResetError, EOFError) as error:
            raise self._gone(process) from error
        except TimeoutError as error:
            raise GoneError from error
        finally:
            self.close()
        return answer

    def close(self) -> None:
        """Kill the process; may be called twice."""
        if self._way is not None:
            self._way.close()
            self._way = None
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _started(self, way: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            own_module(self._module, dumps(self._fence).decode()),
            stdin=way.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=for_children(),
        )

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the child's first line; raises `StartError`.

        If the child ends before that, no model can be the cause.
        """
        try:
            self._check_ready(self._exchange(process, b"", (), time.monotonic() + STARTUP))
        except (BrokenPipeError, ConnectionResetError, EOFError) as error:
            gone = self._gone(process)
            how = f"code {gone.status}" if (gone.status or 0) >= 0 else f"signal {-(gone.status or 0)}"
            raise StartError(
                f"the process that tries models ended before it received a model ({how}).{gone.said}"
            ) from error

    def _check_ready(self, line: bytes) -> None:
        """Check the child's first line, which is trustworthy because the child has not yet read any part of a model."""
        try:
            ready = decode_json(Ready, joined([line]))
        except WireError as error:
            raise StartError(f"cannot try models here: {error}") from error
        if ready.error:
            raise StartError(ready.error)

    def _exchange(self, process: subprocess.Popen[bytes], order: bytes, files: Sequence[int], deadline: float) -> bytes:
        """Send an order and read the answer line. The last part of standard error is kept for error texts."""
        assert self._way is not None
        assert process.stdout is not None
        assert process.stderr is not None
        answer = bytearray()
        with selectors.DefaultSelector() as selector:
            if order:
                selector.register(self._way, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    if key.fileobj is self._way:
                        order, files = order[socket.send_fds(self._way, [order], files) :], ()
                        finished = not order
                    else:
                        part = os.read(key.fd, 1 << 16)
                        finished = not part
                        if key.fileobj is process.stdout:
                            answer += part
                        else:
                            self._chatter = (self._chatter + part)[-CHATTER:]
                    if finished:
                        selector.unregister(key.fileobj)
                if process.stdout not in selector.get_map() or len(answer) > LONGEST:
                    raise EOFError
        return bytes(answer)

    def _gone(self, process: subprocess.Popen[bytes]) -> GoneError:
        """Return an error with the child's exit status. A child that closed its output but still runs has no status."""
        status: int | None = None
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(5.0)
        lines = self._chatter.decode("utf-8", "replace").strip().splitlines()
        last = [printable(line) for line in lines if not line.startswith(CHAT)]
        return GoneError(status, f" Its last line of output: {last[-1][:200]}" if last else "", mute=status is None)
