"""Schedules model runs when the pipelines together need more cores than there are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

OVERTAKEN: Final = 3
"""Number of consecutive turns that other pipelines may get before the longest-waiting pipeline is next, at any
priority."""
LONGEST: Final = 2.0
"""Seconds after which a turn no longer counts, so that other pipelines can run beside a pipeline that hangs or is very
slow."""


@dataclass(slots=True, eq=False)  # compared by identity: two equal requests are different
class Turn:
    """The request of one pipeline for ``cores`` at a time, and its status. Times are on the clock of its `Turns`."""

    given: threading.Condition
    spare: bool = False
    """Whether this member gets only cores that no pipeline waits for: it comes after every priority, however long it
    has waited."""
    priority: int = 0
    cores: int = 1
    since: float = 0.0
    """Time since which it waits with a frame; 0 while it does not wait."""
    began: float = 0.0
    """Time at which its turn began; 0 while it has none."""


class Turns:
    """Gives cores to pipelines by priority; at equal priority, the pipeline with a frame that waits longest is first.

    - After `OVERTAKEN` turns of other pipelines, the longest-waiting pipeline is next, at any priority.
    - If the next pipeline needs more cores than are free, the pipelines behind it wait. Otherwise it would never get
      its cores.
    - While there are enough cores for all pipelines at once, no pipeline has to ask.
    - A ``spare`` member gets only cores that no pipeline waits for.

    Any thread may call it.
    """

    def __init__(self, cores: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without ``cores``, use the number of cores that this process may use."""
        self.scarce = False
        """Whether there are too few cores for all pipelines to run at the same time."""
        self._cores = cores or len(os.sched_getaffinity(0))
        self._clock = clock
        self._lock = threading.Lock()
        self._members: list[Turn] = []
        self._waiting: list[Turn] = []
        self._running: list[Turn] = []
        self._overtaken = 0

    def join(self, *, spare: bool = False) -> Turn:
        """Add a pipeline, or a ``spare`` member such as a shadow model."""
        with self._lock:
            turn = Turn(threading.Condition(self._lock), spare)
            self._members.append(turn)
            self._count()
            return turn

    def want(self, turn: Turn, priority: int, cores: int) -> None:
        """Set the priority and the cores of a pipeline. A pipeline that wants more cores than exist gets all cores."""
        with self._lock:
            turn.priority, turn.cores = priority, min(cores, self._cores)
            self._count()

    def leave(self, turn: Turn) -> None:
        """Remove the pipeline and end its turn; may be called twice."""
        with self._lock:
            if turn in self._members:
                self._members.remove(turn)
            self._count()
            self._over(turn)

    @property
    def contested(self) -> bool:
        """Whether a pipeline waits for a turn."""
        return not all(turn.spare for turn in tuple(self._waiting))

    def take(self, turn: Turn, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the turn. Repeated calls count as one wait, from the first call on.

        After a timeout the pipeline keeps its place, and the cores that are free for it are not given away at once.
        Otherwise a pipeline that needs several cores would never get enough.
        """
        with self._lock:
            turn.since = turn.since or self._clock()
            self._waiting.append(turn)
            self._give()
            if not turn.given.wait_for(lambda: turn.began, timeout):
                self._waiting.remove(turn)
                return False
            return True

    def end(self, turn: Turn) -> None:
        """End the turn."""
        with self._lock:
            self._over(turn)

    def _over(self, turn: Turn) -> None:
        turn.began = 0.0
        if turn in self._running:
            self._running.remove(turn)
        self._give()

    def _give(self) -> None:
        """Start as many turns as there are cores for."""
        now = self._clock()
        self._running = [turn for turn in self._running if now - turn.began < LONGEST]
        while self._waiting:
            oldest = min(self._waiting, key=lambda turn: (turn.spare, turn.since))
            turn = oldest if self._overtaken >= OVERTAKEN else min(self._waiting, key=_order)
            if sum(each.cores for each in self._running) + turn.cores > self._cores:
                return
            self._overtaken = 0 if turn is oldest else self._overtaken + 1
            self._waiting.remove(turn)
            self._running.append(turn)
            turn.since, turn.began = 0.0, now
            turn.given.notify()

    def _count(self) -> None:
        self.scarce = sum(turn.cores for turn in self._members) > self._cores


def _order(turn: Turn) -> tuple[bool, int, float]:
    return turn.spare, -turn.priority, turn.since
