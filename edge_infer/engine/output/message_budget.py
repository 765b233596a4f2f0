"""Budgets of messages per minute, which the publisher enforces as well."""

from __future__ import annotations

import math
import time
from typing import ClassVar


class MessageBudget:
    """Token bucket: ``most`` tokens are added per minute, and it holds at most ``at_once``.

    Times are those of the monotonic clock.
    """

    _empty_at: ClassVar[float] = -math.inf
    """Time at which all budgets of this process were empty."""

    def __init__(self, most: float, at_once: float | None = None) -> None:
        self._rate = most / 60.0
        self._at_once = most if at_once is None else at_once
        self._left = 0.0
        self._at: float | None = None

    @classmethod
    def start_empty(cls) -> None:
        """Let all budgets of this process start empty at this moment; otherwise they start full.

        The previous engine may have used up the burst that the publisher allows.
        """
        cls._empty_at = time.monotonic()

    def take(self, moment: float, cost: float = 1.0, *, reserved: float = 0.0) -> bool:
        """Take ``cost`` tokens if the share ``reserved`` of the bucket remains afterwards.

        Return whether they were taken.
        """
        passed = time.monotonic() - self._empty_at if self._at is None else max(0.0, moment - self._at)
        self._left, self._at = min(self._at_once, self._left + passed * self._rate), moment
        if self._left - cost < reserved * self._at_once:
            return False
        self._left -= cost
        return True
