"""Pool of interpreters for models that several pipelines share: of each model, only as many as can run at a time."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Protocol, TypeAlias
from weakref import WeakValueDictionary

from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.run_scheduler import LONGEST
from edge_infer.plan.records import PipelinePlan

Make: TypeAlias = Callable[[], Interpreter]


class Holder(Protocol):
    """The user of a leased interpreter.

    The holder has ``interpreter`` during the lease and sets the interpreter's ``echo``.
    """

    interpreter: Interpreter
    echo: tuple[int, ...]


class InterpreterPool:
    """The identical interpreters of one model, shared by several pipelines; any thread may call it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._free: list[Interpreter] = []
        self._made = self._users = 0
        self._example: Interpreter  # this interpreter may be closed by now; its properties stay readable

    def join(self, make: Make) -> Interpreter:
        """Add a pipeline; return an interpreter that shows the model's properties. Raises what ``make`` raises.

        An interpreter that remembers earlier runs belongs to this pipeline alone, which then does not count as a member
        of the pool.
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
        """Remove a pipeline, and close the interpreters that are no longer needed."""
        with self._changed:
            self._users -= 1
            self._close_surplus()

    def take(self, make: Make) -> Interpreter:
        """Return the unused interpreter that ran last: it may still be in the processor's cache.

        If no interpreter becomes free in time, because a run hangs, the pool makes another one.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._free, LONGEST):
                return self._free.pop()
        made = make()  # outside the lock, so that other threads can return their interpreters
        with self._changed:
            self._made, self._most = self._made + 1, self._most + 1
        return made

    def put(self, interpreter: Interpreter) -> None:
        """Return an interpreter to the pool."""
        with self._changed:
            self._free.append(interpreter)
            self._close_surplus()
            self._changed.notify()

    def _close_surplus(self) -> None:
        while self._free and self._made > min(self._users, self._most):
            self._free.pop(0).close()
            self._made -= 1


class Loan:
    """Leases an interpreter of the pool to the holder, for the duration of the context."""

    def __init__(self, shelf: InterpreterPool, make: Make, holder: Holder) -> None:
        self.shelf = shelf
        self._make = make
        self._holder = holder

    def __enter__(self) -> None:
        self._holder.interpreter = self.shelf.take(self._make)
        self._holder.interpreter.echo = self._holder.echo

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        traceback.clear_frames(trace)  # a tensor that is still held would make the next user's invoke fail
        self.shelf.put(self._holder.interpreter)


class InterpreterPools:
    """All interpreter pools of an engine.

    Two models are the same if their bytes and all options of the interpreter are equal.
    """

    def __init__(self, cores: int | None = None) -> None:
        """Without ``cores``, use the number of cores that this process may use."""
        self._cores = cores or len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._shelves: WeakValueDictionary[Hashable, InterpreterPool] = WeakValueDictionary()

    def shelf(self, plan: PipelinePlan) -> InterpreterPool | None:
        """Return the pool for this plan; None if the model takes no images, keeps a state, or uses a delegate."""
        model = plan.model
        if model.input.takes != "image" or model.state or plan.delegate is not None:
            return None
        key = (model.sha256, model.shapes, model.outputs, plan.threads, plan.affinity)
        with self._lock:
            return self._shelves.setdefault(key, InterpreterPool(max(1, self._cores // plan.threads)))
