"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 0.5
REFUSED: Final = 5.0
MOST: Final = 5.0
"""A broker that comes back is found within this time, however long it was away."""
MOST_REFUSED: Final = 30.0
MOST_TAKEN: Final = 300.0
"""Two devices of one client id end each other's connection: the longer each waits, the more gets through."""


class Backoff:
    """Exponential with full jitter, so that a fleet does not knock at one instant; a refusal starts and ends higher."""

    def __init__(self, draw: random.Random | None = None) -> None:
        self._draw = draw or random.Random()  # noqa: S311 - jitter, no secret
        self._failures = 0
        self._refusals = 0

    def failed(self, *, refused: bool = False, taken: bool = False) -> float:
        """Seconds until the next attempt; ``taken``: refused, because another client uses our name."""
        self._failures, self._refusals = (0, self._refusals + 1) if refused else (self._failures + 1, 0)
        start, most = (REFUSED, MOST_TAKEN if taken else MOST_REFUSED) if refused else (FIRST, MOST)
        ceiling = min(most, start * 2.0 ** min(self._failures + self._refusals - 1, 16))
        return self._draw.uniform(start / 2, ceiling)

    def reset(self) -> None:
        """It works again."""
        self._failures = self._refusals = 0
