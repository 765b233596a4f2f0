"""The updates that the iterations over a client have not read yet, in memory."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from edge_infer.client.updates import Update
from edge_infer.errors import EdgeInferError

MAX_BEHIND: Final = 5000
"""Maximum number of updates by which an iteration may lag behind the most advanced one."""


class UpdateLog:
    """A queue that every iteration reads completely, from its own position.

    One thread may add updates while another one begins iterations and reads, without losing an update.
    """

    def __init__(self) -> None:
        self._updates: deque[Update] = deque()
        self._first = 0
        """The number of the oldest update that is kept."""
        self._places: list[_Place] = []

    def add(self, update: Update) -> None:
        """Add an update for every iteration."""
        self._updates.append(update)

    @property
    def end(self) -> int:
        """The number of the next update that will be added."""
        return self._first + len(self._updates)

    def begin(self, kind: type[Any], end: float) -> UpdateReader:
        """Begin an iteration over the updates of a kind, until ``end`` of the monotonic clock.

        It continues where the last iteration ended or, while other iterations run, where the last iteration of its kind
        ended.
        """
        ended = [each for each in self._places if each.reader() is None]
        place = next((each for each in ended if each.kind is kind), None) or _Place(kind, self._first)
        place.number = max(place.number, self._first)
        running = len(ended) < len(self._places)
        self._places = [*(each for each in self._places if running and each is not place), place]
        return UpdateReader(self, place, end)

    def read(self, place: _Place, limit: int | None) -> Any:
        """Return the next update for ``place``, below ``limit``; raises `EdgeInferError` if it is no longer kept."""
        while place.number < (self.end if limit is None else limit):
            if place.number < self._first:
                raise EdgeInferError(
                    f"this iteration is more than {MAX_BEHIND} updates behind another one of its client, and its "
                    "next updates are lost: continue it sooner, or end it"
                )
            update = self._updates[place.number - self._first]
            place.number += 1
            self._drop()
            if isinstance(update, place.kind):
                return update
        return None

    def _drop(self) -> None:
        """Drop the updates that every iteration has read, and those beyond `MAX_BEHIND`."""
        numbers = [each.number for each in self._places]
        while self._first < max(min(numbers), max(numbers) - MAX_BEHIND):
            self._updates.popleft()
            self._first += 1


class _Place:
    """The position of an iteration, which stays after its end."""

    def __init__(self, kind: type[Any], number: int) -> None:
        self.kind = kind
        self.number = number
        self.reader: Callable[[], UpdateReader | None] = _nobody


class UpdateReader:
    """One iteration. It ends with `close`, and when nothing refers to it any more."""

    def __init__(self, log: UpdateLog, place: _Place, end: float) -> None:
        self.over = False
        """Whether the end time has passed, as of the last `read`."""
        self._log = log
        self._place = place
        self._end = end
        self._limit: int | None = None
        place.reader = weakref.ref(self)

    def close(self) -> None:
        """End the iteration: the next one of its kind continues here."""
        if self._place.reader() is self:
            self._place.reader = _nobody

    def read(self) -> Any:
        """Return the next update that arrived before the time was over; None if there is none yet."""
        if not self.over and time.monotonic() >= self._end:
            self.over, self._limit = True, self._log.end
        return self._log.read(self._place, self._limit)


def _nobody() -> None:
    """Return None, as a weak reference to a reader that is gone does."""
