"""Interpreters of models that several pipelines have: as many of each as can run at a time, and no more."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Protocol, TypeAlias
from weakref import WeakValueDictionary

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.turns import LONGEST

Make: TypeAlias = Callable[[], Interpreter]


class Holder(Protocol):
    """Who looks through an ``interpreter``, which is its own for as long as it is lent, and gives it its ``echo``."""

    interpreter: Interpreter
    echo: tuple[int, ...]


class Shelf:
    """The interpreters of one model, all alike, for the pipelines that have it; any thread may call it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._free: list[Interpreter] = []
        self._made = self._users = 0
        self._example: Interpreter  # may be closed by now: what it is like it still tells

    def join(self, make: Make) -> Interpreter:
        """One more pipeline has the model; an interpreter that tells what it is like. Raises what ``make`` does.

        One that remembers what it has seen is for this pipeline alone, which has not joined then.
        """
        with self._changed:
            if self._made < min(self._users + 1, self._most):
                made = make()
                if made.remembers:
                    return made
                self._example, self._made = made, self._made + 1
                self._free.append(made)
                self._changed.notify()
            self._users += 1
            return self._example

    def leave(self) -> None:
        """A pipeline has it no more; what nobody needs then is closed."""
        with self._changed:
            self._users -= 1
            self._close_surplus()

    def take(self, make: Make) -> Interpreter:
        """One that nobody uses, of several the one used last, which may still be in the processor's cache.

        In the place of one that does not come back, because its run hangs, there is another after a while.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._free, LONGEST):
                return self._free.pop()
        made = make()  # while others may give back theirs
        with self._changed:
            self._made, self._most = self._made + 1, self._most + 1
        return made

    def put(self, interpreter: Interpreter) -> None:
        """It is not used any more."""
        with self._changed:
            self._free.append(interpreter)
            self._close_surplus()
            self._changed.notify()

    def _close_surplus(self) -> None:
        while self._free and self._made > min(self._users, self._most):
            self._free.pop(0).close()
            self._made -= 1


class Loan:
    """For as long as it is entered an interpreter from the shelf is the holder's own."""

    def __init__(self, shelf: Shelf, make: Make, holder: Holder) -> None:
        self.shelf = shelf
        self._make = make
        self._holder = holder

    def __enter__(self) -> None:
        self._holder.interpreter = self.shelf.take(self._make)
        self._holder.interpreter.echo = self._holder.echo

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        traceback.clear_frames(trace)  # a tensor that is held there would make the next invoke fail, of somebody else
        self.shelf.put(self._holder.interpreter)


class Pool:
    """All shelves of an engine; a model is the same where its bytes and all that its interpreter is made with are."""

    def __init__(self, cores: int | None = None) -> None:
        """Without ``cores`` those of this process."""
        self._cores = cores or len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._shelves: WeakValueDictionary[Hashable, Shelf] = WeakValueDictionary()

    def shelf(self, plan: PipelinePlan) -> Shelf | None:
        """Where interpreters for this plan are; None for a model that goes on with what it saw, or on a delegate."""
        model = plan.model
        if model.input.takes != "image" or model.state or plan.delegate is not None:
            return None
        key = (model.sha256, model.shapes, model.outputs, plan.threads, plan.affinity)
        with self._lock:
            return self._shelves.setdefault(key, Shelf(max(1, self._cores // plan.threads)))
