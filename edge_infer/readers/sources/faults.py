"""Counts readings that a source drops because they are unusable, and logs them without flooding the log."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

log = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Minimum seconds between two log lines about faults of one source."""
SETTLED: Final = 3.0
"""Seconds without a further fault after which the final count is logged."""


class Faults:
    """Counts dropped readings in ``count``.

    ``last`` is the reason of the newest drop, ``since_good`` the number of drops since the last usable reading.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.count = 0
        self.since_good = 0
        self.last = ""
        self._quiet = quiet
        self._logged = 0  # the count in the last log line
        self._told_at = -QUIET
        self._noted_at = 0.0
        self._settled = False
        with _LOCK:
            _ALL.add(self)

    def note(self, text: str, number: int = 1) -> None:
        """Count ``number`` readings dropped because of ``text``; log the first, then at most one line a minute."""
        self.count += number
        self.since_good += number
        self.last = text
        self._noted_at = time.monotonic()
        if self._noted_at - self._told_at >= QUIET:
            self._settled = False
            self._say(self._noted_at)

    def settle(self, now: float) -> None:
        """Log a count that `note` has not logged: `SETTLED` s after the last fault, or `QUIET` s after the last line.

        The first case happens at most once between two lines of `note`, so that frequent faults do not flood the log.
        """
        quiet = now - self._noted_at >= SETTLED and not self._settled
        if self.count > self._logged and (quiet or now - self._told_at >= QUIET):
            self._settled = True
            self._say(now)

    def resume(self, before: Faults) -> None:
        """Continue the count of ``before``, which the same source used until it was reopened."""
        self.count += before.count
        self.since_good += before.since_good
        self.last = self.last or before.last
        self._logged, self._told_at = before._logged, before._told_at
        self._noted_at, self._settled = before._noted_at, before._settled
        before._quiet = True

    def good(self) -> None:
        """Reset ``since_good``, because a reading was usable."""
        self.since_good = 0

    def _say(self, now: float) -> None:
        self._told_at, self._logged = min(now, time.monotonic()), self.count
        if not self._quiet:
            log.warning("data dropped or damaged: %s (%d so far)", self.last, self.count)


_ALL: Final[WeakSet[Faults]] = WeakSet()
_LOCK: Final = threading.Lock()


def settle_all(now: float | None = None) -> None:
    """Call `Faults.settle` for all instances of this process. Call it about once per second, and at the end.

    At the end ``now`` is infinite, so that every count is logged.
    """
    with _LOCK:
        every = list(_ALL)
    for faults in every:
        faults.settle(time.monotonic() if now is None else now)


@contextmanager
def settling() -> Iterator[None]:
    """Log every count at the end of a command that reads a recording in its own process."""
    try:
        yield
    finally:
        settle_all(math.inf)
