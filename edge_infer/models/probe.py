"""Tries models in a short-lived child, because a damaged file can crash, hang or fatten whoever loads it.

One child tries several models, one after the other; after a crash the next model gets a new one. What the child
imports is not imported here.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.closing import Closing
from edge_infer.codec import decode, dumps, encode, loads
from edge_infer.config.plan import ModelPlan
from edge_infer.errors import ModelError, StartError, WireError
from edge_infer.models.order import Answer, Order
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolution import Resolution

TIMEOUT: Final = 60.0
"""Seconds for one model: loading YOLOv5n takes 26 ms on a desktop and some ten times that on a small board."""
STARTUP: Final = 30.0
"""Seconds more for a child's first model: a slow card reads NumPy, OpenCV and the runtime for the first time."""
ALL: Final = 80.0
"""Seconds for all models of a configuration together: whoever waits for its reading gives up after 120."""
LEAST: Final = 5.0
"""Seconds for a model that is tried after others which took their time."""
LONGEST: Final = 16 << 20
CHATTER: Final = 4000


def probe(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> ModelPlan:
    """The plan of a model that loads, runs and finds what its manifest promises; raises `ModelError`, `StartError`."""
    return examine_safely(request, store, timeout).plan


def probe_all(
    requests: Sequence[ModelRequest], child: Probe, kept: Collection[str] | None = None
) -> list[ModelPlan | ModelError]:
    """What `probe` says of several models, in their order: a plan or what is wrong with it. Raises `StartError`.

    Copies are made of those whose names are in ``kept``; None: of all.
    """
    last = time.monotonic() + ALL
    return [child.outcome(request, last, keep=kept is None or request.name in kept) for request in requests]


def examine_safely(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> Resolution:
    """Like `probe`, with the reasons."""
    with Probe(store, timeout) as child:
        return child.examine(request)


class Probe(Closing):
    """A child that tries models; it starts with the first one, or at `begin`, and is started again after a crash."""

    def __init__(self, store: Path | None = None, timeout: float = TIMEOUT) -> None:
        self._store = store
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self._chatter = b""

    def begin(self) -> None:
        """Starts the child, so that it has loaded what it needs when the first model comes; raises `StartError`."""
        if self._process is None:
            self._process, self._asked = _start(self._store), False

    def copying_to(self, store: Path | None) -> None:
        """Models are copied there from now on, or nowhere; a child that may write elsewhere only ends."""
        if store is not None and store != self._store:
            self.close()
        self._store = store

    def outcome(self, request: ModelRequest, last: float = math.inf, *, keep: bool = True) -> ModelPlan | ModelError:
        """The plan of a model, or what is wrong with it; raises `StartError` when no model can be tried here.

        Of the time until ``last``, on the monotonic clock, others may have left little.
        """
        try:
            seconds = min(self._timeout, max(LEAST, last - time.monotonic()))
            return self.examine(request, seconds, keep=keep).plan
        except ModelError as error:
            return error

    def examine(self, request: ModelRequest, seconds: float | None = None, *, keep: bool = True) -> Resolution:
        """The resolution of a model that works here; raises `ModelError`, `StartError`."""
        store = str(self._store) if self._store and keep else None
        answer = self._ask(Order(request, store, seconds or self._timeout))
        if answer.machine:
            raise StartError(answer.error)
        if answer.resolution is None:
            raise ModelError(answer.error, key=answer.key, tried=answer.tried)
        return answer.resolution

    def close(self) -> None:
        """Ends the child; may be called twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _ask(self, order: Order) -> Answer:
        self.begin()
        deadline = time.monotonic() + order.seconds + (0.0 if self._asked else STARTUP)
        process, self._asked = self._process, True
        assert process is not None
        try:
            return decode(Answer, loads(self._exchange(process, dumps(encode(order)) + b"\n", deadline)))
        except (BrokenPipeError, EOFError):
            text = self._why_gone(process)
        except TimeoutError:
            text = f"the model did not finish within {order.seconds:.0f} s; it is damaged or too large for this board"
        except WireError as error:
            text = f"the process that tried the model gave no answer that makes sense: {error}"
        self.close()
        return Answer(error=f"{order.request.file}: {text}", tried=True)

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

    def _why_gone(self, process: subprocess.Popen[bytes]) -> str:
        try:
            status = process.wait(5.0)
        except subprocess.TimeoutExpired:
            return "the process that tried the model closed its answers"
        last = self._chatter.decode("utf-8", "replace").strip().splitlines()
        said = f" Its last words: {last[-1][:200]}" if last else ""
        if status >= 0:
            return f"the process that tried the model ended with code {status}.{said}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        if -status == signal.SIGXCPU:
            return "the model computes without end; it is damaged or too large for this board"
        if -status == signal.SIGKILL:
            return "the process that tried the model was killed; this board has too little memory for it"
        return f"the model crashed the interpreter ({name}); it is damaged or needs a newer runtime.{said}"


def _start(store: Path | None) -> subprocess.Popen[bytes]:
    """A child that reads what the operator names, and writes into the store only, which has to be there before.

    Raises `StartError` where the system has no room for it.
    """
    if store is not None:
        with suppress(OSError):  # the child tells why it cannot write there
            store.mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_infer.models.prober", *([str(store)] if store else [])],
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
