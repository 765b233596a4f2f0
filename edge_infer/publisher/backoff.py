"""Back-off: the pause before the next connection attempt."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 0.5
REFUSED: Final = 5.0
MOST: Final = 5.0
"""Maximum pause in seconds: a broker that comes back is found within this time, however long it was away."""
MOST_REFUSED: Final = 30.0
MOST_TAKEN: Final = 300.0
"""Maximum pause in seconds when another client uses this client id. Two devices with one client id end each other's
connection: the longer each waits, the more messages get through."""


class Backoff:
    """Exponential back-off with full jitter, so that a fleet does not reconnect at once.

    A refusal starts and ends higher.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        self._draw = draw or random.Random()  # noqa: S311 - jitter, no secret
        self._failures = 0
        self._refusals = 0

    def failed(self, *, refused: bool = False, taken: bool = False) -> float:
        """Return the seconds until the next attempt.

        ``taken``: the broker refused because another client uses this client id.
        """
        self._failures, self._refusals = (0, self._refusals + 1) if refused else (self._failures + 1, 0)
        start, most = (REFUSED, MOST_TAKEN if taken else MOST_REFUSED) if refused else (FIRST, MOST)
        ceiling = min(most, start * 2.0 ** min(self._failures + self._refusals - 1, 16))
        return self._draw.uniform(start / 2, ceiling)

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = self._refusals = 0
