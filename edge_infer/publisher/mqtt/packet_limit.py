"""Maximum message size of a broker that does not report it: with MQTT 3.1.1 it ends the connection without a reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

NO_LIMIT: Final = 1 << 28
"""Maximum bytes of a packet if the broker reports no limit."""
ATTEMPTS: Final = 3
"""Number of connections that must end with the same message in flight before its size is taken to be the cause."""
FORGOTTEN_SECONDS: Final = 3600.0
"""Seconds after which larger messages are tried again, because the broker's limit may have been raised."""


class PacketLimit:
    """Learns the limit from connections that ended while a message larger than any accepted one was in flight."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = NO_LIMIT
        self._until = 0.0
        self._accepted = self._suspect = self._times = 0

    @property
    def most(self) -> int:
        """The maximum bytes of a message, including its topic, that may be sent now."""
        if self._most != NO_LIMIT and self._clock() >= self._until:
            self._most, self._times = NO_LIMIT, 0
        return self._most

    def acked(self, size: int) -> None:
        """Record that the broker accepted a message of this size."""
        self._accepted = max(self._accepted, size)

    def ended(self, sizes: Iterable[int]) -> int | None:
        """Record that a connection ended with messages of these sizes in flight; return the size that was too large.

        Once one size is known to be too large, a single attempt decides about the next smaller size.
        """
        largest = max(sizes, default=0)
        if largest <= self._accepted:
            self._times = 0
            return None
        self._times = self._times + 1 if largest == self._suspect else 1
        self._suspect = largest
        if self._times < ATTEMPTS and self.most == NO_LIMIT:
            return None
        self._most, self._until = largest - 1, self._clock() + FORGOTTEN_SECONDS
        return largest
