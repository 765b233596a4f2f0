"""Budgets of messages a minute, which the publisher enforces as well."""

from __future__ import annotations

import math
import time
from typing import ClassVar


class MessageBudget:
    """A token bucket of ``most`` tokens a minute that holds ``at_once``; moments are those of the monotonic clock."""

    _empty_at: ClassVar[float] = -math.inf
    """When all budgets of this process were empty."""

    def __init__(self, most: float, at_once: float | None = None) -> None:
        self._rate = most / 60.0
        self._at_once = most if at_once is None else at_once
        self._left = 0.0
        self._at: float | None = None

    @classmethod
    def start_empty(cls) -> None:
        """Let the budgets of this process fill from now on; otherwise they start full.

        The engine before may have used up what the publisher allows at once.
        """
        cls._empty_at = time.monotonic()

    def take(self, moment: float, cost: float = 1.0, *, reserved: float = 0.0) -> bool:
        """Take the cost if the budget covers it and the share ``reserved``; return whether it did."""
        passed = time.monotonic() - self._empty_at if self._at is None else max(0.0, moment - self._at)
        self._left, self._at = min(self._at_once, self._left + passed * self._rate), moment
        if self._left - cost < reserved * self._at_once:
            return False
        self._left -= cost
        return True
