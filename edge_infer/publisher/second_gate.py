"""Holds the messages of pipelines with ``detail: coarse`` until the second of their arrival is over.

Their timestamps are whole seconds. If they were sent at once, the time at which a subscriber receives them would reveal
a finer time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from edge_infer.contract.codec import dumps
from edge_infer.contract.precision import TIME_STEPS
from edge_infer.ipc.messages import EngineHello, Handover, StateSnapshot
from edge_infer.plan.records import Plan

Word: TypeAlias = EngineHello | Handover | StateSnapshot
MAX_HELD_BYTES: Final = 1 << 20
"""Maximum bytes of the held messages, which take about ten times as much memory. Further messages stay in the engine's
channel."""


class SecondGate:
    """A queue that opens when a whole second of the uptime has passed. It keeps the order of the messages."""

    def __init__(self, uptime: Callable[[], float]) -> None:
        self._uptime = uptime
        self._step: dict[str, float] = {}
        self._held: deque[Word] = deque()
        self._names: set[str] = set()  # pipelines of held messages
        self._bytes = 0
        self._greeting = False
        self._opens = math.inf

    def apply(self, plan: Plan) -> None:
        """Set the pipelines of a plan. Held messages stay held until their second is over."""
        self._step = {each.name: TIME_STEPS[each.detail] for each in plan.pipelines if each.detail == "coarse"}

    @property
    def full(self) -> bool:
        """Whether no more messages may be received from the engine."""
        return self._bytes >= MAX_HELD_BYTES

    def holds(self, word: Word) -> bool:
        """Hold a message if it may not leave yet; return whether it is held.

        A greeting of the engine is held while messages before it are held, and so are all messages after the greeting.
        After a plan without ``detail: coarse``, a message is held while older ones of its pipeline are.
        """
        if isinstance(word, EngineHello):
            step, waits = None, bool(self._held)
        else:
            step = self._step.get(word.pipeline)
            waits = bool(step) or word.pipeline in self._names
        if not self._greeting and not waits:
            return False
        if isinstance(word, EngineHello):
            self._greeting = True
        else:
            self._names.add(word.pipeline)
        if not self._held:
            self._opens = (self._uptime() // (step or 1.0) + 1) * (step or 1.0)
        self._held.append(word)
        self._bytes += len(dumps(word))
        return True

    def wait(self) -> float:
        """Return the seconds until `opened` returns messages; infinite if none are held."""
        return max(0.0, self._opens - self._uptime()) if self._held else math.inf

    def opened(self, *, at_once: bool = False) -> Iterator[Word]:
        """Yield the messages once their second is over; ``at_once``: all messages."""
        if not self._held or (not at_once and self._uptime() < self._opens):
            return
        held, self._held, self._bytes, self._greeting = self._held, deque(), 0, False
        self._names.clear()
        yield from held
