"""Counters that never go back while the daemon runs, whatever becomes of the processes that count."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MAX_COUNTERS: Final = 16_384
"""Counters kept, those of earlier pipelines included. A configuration has at most 256 pipelines, with 12 each."""


class Counters:
    """Adds up the counts of successive processes. A count that begins again adds to what was counted before."""

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[Hashable, float, float]] = {}  # start, its last count, the sum before it

    def follow(self, key: Hashable, start: Hashable, count: float) -> None:
        """Record the ``count`` since ``start``, which identifies one life of the process that counts."""
        began, last, before = self._parts.pop(key, (start, 0.0, 0.0))
        if began != start or count < last:
            before += last
        self._parts[key] = (start, count, before)
        if len(self._parts) > MAX_COUNTERS:
            del self._parts[next(iter(self._parts))]

    def raise_to(self, key: Hashable, count: float) -> None:
        """Record a count that outlives its process; a lower one than before is ignored."""
        self._parts[key] = (None, max(count, self.value(key)), 0.0)

    def value(self, key: Hashable) -> float:
        """Return the sum so far; 0 for a counter that was never recorded."""
        _, last, before = self._parts.get(key, (None, 0.0, 0.0))
        return before + last
