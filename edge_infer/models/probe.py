"""Tries models in a short-lived child, because a damaged file can crash, hang or fatten whoever loads it.

One child tries several models, one after the other; after a crash the next model gets a new one. What the child
imports is not imported here.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from edge_infer.closing import Closing
from edge_infer.codec import decode, dumps, encode, loads
from edge_infer.config.plan import ModelPlan
from edge_infer.errors import ModelError, StartError, WireError
from edge_infer.models.child import Child, GoneError
from edge_infer.models.order import Answer, Order
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolution import Resolution

CHILD: Final = "edge_infer.models.prober"
TIMEOUT: Final = 60.0
"""Seconds for one model: loading YOLOv5n takes 26 ms on a desktop and some ten times that on a small board."""
ALL: Final = 80.0
"""Seconds for all models of a configuration together: whoever waits for its reading gives up after 120."""
LEAST: Final = 5.0
"""Seconds for a model that is tried after others which took their time."""


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
        self._child = Child(CHILD, [store] if store is not None else [])

    def begin(self) -> None:
        """Starts the child, so that it has loaded what it needs when the first model comes; raises `StartError`."""
        self._child.begin()

    def copying_to(self, store: Path | None) -> None:
        """Models are copied there from now on, or nowhere; a child that may write elsewhere only ends."""
        if store is not None and store != self._store:
            self._child.close()
            self._child = Child(CHILD, [store])
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

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid

    def close(self) -> None:
        """Ends the child; may be called twice."""
        self._child.close()

    def _ask(self, order: Order) -> Answer:
        try:
            return decode(Answer, loads(self._child.ask(dumps(encode(order)), order.seconds)))
        except GoneError as gone:
            text = _why_gone(gone, order.seconds)
        except WireError as error:
            self._child.close()
            text = f"the process that tried the model gave no answer that makes sense: {error}"
        return Answer(error=f"{order.request.file}: {text}", tried=True)


def _why_gone(gone: GoneError, seconds: float) -> str:
    status = gone.status
    if gone.mute:
        return f"the process that tried the model gave no answer and had to be ended.{gone.said}"
    if status is None:
        return f"the model did not finish within {seconds:.0f} s; it is damaged or too large for this board"
    if status >= 0:
        return f"the process that tried the model ended with code {status}.{gone.said}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if -status == signal.SIGXCPU:
        return "the model computes without end; it is damaged or too large for this board"
    if -status == signal.SIGKILL:
        return "the process that tried the model was killed; this board has too little memory for it"
    return f"the model crashed the interpreter ({name}); it is damaged or needs a newer runtime.{gone.said}"
