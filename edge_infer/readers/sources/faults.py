"""What a source leaves out because it cannot be used: counted, and told without filling the log."""

from __future__ import annotations

import logging
import time
from typing import Final

log = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Seconds between two words about faults of one source."""


class Faults:
    """``count`` of everything left out and the ``last`` reason; `since_good` of them came after the last good one."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.count = 0
        self.since_good = 0
        self.last = ""
        self._quiet = quiet
        self._told_at = -QUIET

    def note(self, text: str, number: int = 1) -> None:
        """One more was left out, because of ``text``: said the first time, and then once a minute."""
        self.count += number
        self.since_good += number
        self.last = text
        if not self._quiet and time.monotonic() - self._told_at >= QUIET:
            self._told_at = time.monotonic()
            log.warning("left out: %s (%d so far)", text, self.count)

    def good(self) -> None:
        """Something came that can be used."""
        self.since_good = 0
