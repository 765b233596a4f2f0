"""Counters that never decrease while the daemon runs, even if the processes that count are restarted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MAX_COUNTERS: Final = 16_384
"""Maximum number of counters, including those of earlier pipelines. A configuration has at most 256 pipelines with 12
counters each."""


class Counters:
    """Adds up the counts of successive processes.

    When a process starts again at 0, its count is added to the previous sum.
    """

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[Hashable, float, float]] = {}  # start, last count, sum before this start

    def follow(self, key: Hashable, start: Hashable, count: float) -> None:
        """Record the ``count`` since ``start``, which identifies one run of the counting process."""
        began, last, before = self._parts.pop(key, (start, 0.0, 0.0))
        if began != start or count < last:
            before += last
        self._parts[key] = (start, count, before)
        if len(self._parts) > MAX_COUNTERS:
            del self._parts[next(iter(self._parts))]

    def raise_to(self, key: Hashable, count: float) -> None:
        """Record a count that outlives its process. A count lower than the previous one is ignored."""
        self._parts[key] = (None, max(count, self.value(key)), 0.0)

    def value(self, key: Hashable) -> float:
        """Return the sum so far; 0 for a counter that was never recorded."""
        _, last, before = self._parts.get(key, (None, 0.0, 0.0))
        return before + last
