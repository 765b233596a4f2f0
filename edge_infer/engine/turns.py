"""Whose turn it is to run a model, where pipelines want more cores than there are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

OVERTAKEN: Final = 3
"""So many turns in a row may go by priority to others than the one who has waited longest."""
LONGEST: Final = 2.0
"""Seconds after which a turn counts no more: others go on beside what hangs, or is that slow."""


@dataclass(slots=True, eq=False)  # two that want the same are still two
class Turn:
    """What one pipeline wants, ``cores`` at a time, and how it stands; moments are of the clock of its `Turns`."""

    given: threading.Condition
    spare: bool = False
    """Whether it has only what nobody else waits for: it comes after every priority, and never by its age."""
    priority: int = 0
    cores: int = 1
    since: float = 0.0
    """When it began to wait with a frame; 0 while it does not."""
    began: float = 0.0
    """When its turn began; 0 while it has none."""


class Turns:
    """Gives the cores to pipelines: by priority, and of the same to the one who has waited longest with a frame.

    After `OVERTAKEN` others the one who has waited longest of all is next, whatever its priority. Who is next and wants
    more cores than are free keeps those behind waiting: it would never have them otherwise. Where there are cores
    enough for all that could run nobody has to ask. Who is ``spare`` has only cores for which nobody else waits. Any
    thread may call it.
    """

    def __init__(self, cores: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without ``cores`` those of this process."""
        self.scarce = False
        """Whether there are not cores enough for all that could run at a time."""
        self._cores = cores or len(os.sched_getaffinity(0))
        self._clock = clock
        self._lock = threading.Lock()
        self._members: list[Turn] = []
        self._waiting: list[Turn] = []
        self._running: list[Turn] = []
        self._overtaken = 0

    def join(self, *, spare: bool = False) -> Turn:
        """One more pipeline, or something ``spare`` beside one."""
        with self._lock:
            turn = Turn(threading.Condition(self._lock), spare)
            self._members.append(turn)
            self._count()
            return turn

    def want(self, turn: Turn, priority: int, cores: int) -> None:
        """What its pipeline wants from now on; more cores than there are is all of them."""
        with self._lock:
            turn.priority, turn.cores = priority, min(cores, self._cores)
            self._count()

    def leave(self, turn: Turn) -> None:
        """The pipeline is gone, and its turn over; may be called twice."""
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
        """Waits up to ``timeout`` seconds for its turn; who asks again has waited since it asked first.

        What is kept for one that asks again goes to nobody between: who wants several cores would never have them all.
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
        """Its turn is over."""
        with self._lock:
            self._over(turn)

    def _over(self, turn: Turn) -> None:
        turn.began = 0.0
        if turn in self._running:
            self._running.remove(turn)
        self._give()

    def _give(self) -> None:
        """Gives as many turns as there are cores for."""
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
