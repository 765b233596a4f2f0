"""What a source leaves out because it cannot be used: counted, and told without filling the log."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final
from weakref import WeakSet

log = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Seconds between two words about faults of one source."""
SETTLED: Final = 3.0
"""Seconds without a further fault after which the log gets the number that was reached."""


class Faults:
    """``count`` of everything left out and the ``last`` reason; `since_good` of them came after the last good one."""

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
        """One more was left out, because of ``text``: said the first time, and then once a minute."""
        self.count += number
        self.since_good += number
        self.last = text
        self._noted_at = time.monotonic()
        if self._noted_at - self._told_at >= QUIET:
            self._settled = False
            self._say(self._noted_at)

    def settle(self, now: float) -> None:
        """Log a count that `note` held back: once when it has been quiet for a moment, at the latest after a minute.

        Between two lines of `note` this is once at most: a fault every few seconds does not fill the log either.
        """
        quiet = now - self._noted_at >= SETTLED and not self._settled
        if self.count > self._logged and (quiet or now - self._told_at >= QUIET):
            self._settled = True
            self._say(now)

    def resume(self, before: Faults) -> None:
        """Go on counting from another one, that of the same source before it was opened again."""
        self.count += before.count
        self.since_good += before.since_good
        self.last = self.last or before.last
        self._logged, self._told_at = before._logged, before._told_at
        self._noted_at, self._settled = before._noted_at, before._settled
        before._quiet = True

    def good(self) -> None:
        """Something came that can be used."""
        self.since_good = 0

    def _say(self, now: float) -> None:
        self._told_at, self._logged = now, self.count
        if not self._quiet:
            log.warning("left out: %s (%d so far)", self.last, self.count)


_ALL: Final[WeakSet[Faults]] = WeakSet()
_LOCK: Final = threading.Lock()


def settle_all() -> None:
    """`Faults.settle` for all of this process; somebody has to call it about once a second."""
    with _LOCK:
        every = list(_ALL)
    now = time.monotonic()
    for faults in every:
        faults.settle(now)
