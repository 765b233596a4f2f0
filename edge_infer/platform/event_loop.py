"""Tools of event loops: waiting for descriptors, and stalls of the process that runs the loop."""

from __future__ import annotations

import errno
import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

# Waits for descriptors with poll(2), which has no maximum descriptor; select(2) fails from 1024 on.


def readable(reads: Iterable[int], writes: Iterable[int] = (), timeout: float = 0.0) -> list[int]:
    """Wait until one of ``reads`` is readable or one of ``writes`` is writable; return the readable ones.

    An end of file and an error count as readable. Raises `OSError` for a descriptor that is not open.
    """
    wanted = dict.fromkeys(reads, select.POLLIN)
    writes = tuple(writes)
    for file in writes:
        wanted[file] = wanted.get(file, 0) | select.POLLOUT
    poll = select.poll()
    for file, events in wanted.items():
        poll.register(file, events)
    timeout = max(0.0, timeout)  # a negative time would mean no time limit
    try:
        found = poll.poll(timeout * 1000)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # There are more descriptors than the limit of open files, which was lowered while they were open.
        return select.select([file for file in wanted if wanted[file] & select.POLLIN], writes, [], timeout)[0]
    if any(events & select.POLLNVAL for _, events in found):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return [file for file, events in found if wanted[file] & select.POLLIN and events & ~select.POLLOUT]


# Stalls: periods in which a process or the whole board did not run, so that silence during them is not a hang.

GRACE: Final = 0.5
"""Seconds by which a thread may wake up late on a busy board. A longer delay is a stall."""
REMEMBERED: Final = 32


class Stalls:
    """The delays of one thread that waits with a deadline in each iteration of its loop.

    That thread calls `wait` and `woke`; any thread may call `since`. A stall is recorded before the thread continues.
    It may be anywhere in the iteration, because a process may be stopped while it works or while it waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = math.inf
        self._past: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # end and length of each stall

    def wait(self, timeout: float) -> None:
        """Record that the thread waits from now on, for ``timeout`` seconds at most."""
        self._go_on(timeout)

    def woke(self) -> None:
        """Record that the thread works again."""
        self._go_on(0.0)

    def _go_on(self, timeout: float) -> None:
        """Record that the thread runs now, and will run again within ``timeout`` seconds."""
        now, due = self._clock(), self._due
        self._due = now + timeout
        if now - due > GRACE:
            self._past.append((now, now - due))

    def since(self, moment: float) -> float:
        """Return the number of seconds after a moment of the monotonic clock in which this process did not run."""
        now = self._clock()
        late = now - self._due  # the process is still not running
        if late <= GRACE and not self._past:
            return 0.0
        stalls = [*self._past, (now, late)] if late > GRACE else list(self._past)
        return sum(min(length, end - moment) for end, length in stalls if end > moment)
