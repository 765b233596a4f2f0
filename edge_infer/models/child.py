"""A process of our own that does for its parent what may be its end: one line in, one line out, within a time."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.closing import Closing
from edge_infer.errors import StartError

STARTUP: Final = 30.0
"""Seconds more for its first order: a slow card reads NumPy, OpenCV and the runtime for the first time."""
LONGEST: Final = 16 << 20
CHATTER: Final = 4000


class GoneError(Exception):
    """It has no answer: it ended with ``status`` (as `subprocess` has it), closed its answers, or took too long."""

    def __init__(self, status: int | None = None, said: str = "", *, mute: bool = False) -> None:
        super().__init__(status, said, mute)
        self.status = status
        self.mute = mute
        """It had closed its answers, or gave one without end, and was ended here."""
        self.said = said
        """Its last words, as the end of a sentence."""


class Child(Closing):
    """``python -m MODULE PLACE...``, which starts with its first order, or at `begin`, and again after it has gone.

    It reads what the operator names, and writes to these places only: folders, which are made, and devices.
    """

    def __init__(self, module: str, folders: Sequence[Path] = (), devices: Sequence[str] = ()) -> None:
        self._folders = tuple(folders)
        self._devices = tuple(devices)
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self._chatter = b""

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    def begin(self) -> None:
        """Starts it, so that it has loaded what it needs when the first order comes; raises `StartError`."""
        if self._process is None:
            self._process, self._asked, self._chatter = self._started(), False, b""

    def ask(self, order: bytes, seconds: float) -> bytes:
        """The line of its answer; raises `StartError` where the system has no room for it, and `GoneError`."""
        self.begin()
        deadline = time.monotonic() + seconds + (0.0 if self._asked else STARTUP)
        process, self._asked = self._process, True
        assert process is not None
        try:
            return self._exchange(process, order + b"\n", deadline)
        except (BrokenPipeError, EOFError) as error:
            raise self._gone(process) from error
        except TimeoutError as error:
            self.close()
            raise GoneError from error

    def close(self) -> None:
        """Ends the process; may be called twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        for folder in self._folders:
            with suppress(OSError):  # the child tells why it cannot write there
                folder.mkdir(parents=True, exist_ok=True)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module, *map(str, self._folders), *self._devices],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        except OSError as error:
            raise StartError(f"no process can be started to try models: {error.strerror or error}") from error
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _exchange(self, process: subprocess.Popen[bytes], order: bytes, deadline: float) -> bytes:
        """Writes an order and reads the line of the answer; what comes on standard error is kept for explanations."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        answer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        order = order[os.write(key.fd, order) :]
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
        """How it ended; one that only closed its answers is ended here."""
        status: int | None = None
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(5.0)
        last = self._chatter.decode("utf-8", "replace").strip().splitlines()
        self.close()
        return GoneError(status, f" Its last words: {last[-1][:200]}" if last else "", mute=status is None)
