"""Limits what each user may do over the control socket.

Changes are limited because each is logged, and some are written to disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from edge_infer.errors import EdgeInferError
from edge_infer.platform.rate_limits import TokenBucket

MAX_AT_ONCE: Final = 128
MAX_PER_SECOND: Final = 1.0
MAX_USERS: Final = 32
"""Number of users that are counted separately, besides root. Further users share one limit, until one of these has been
quiet for a while."""
_ROOT: Final = 0
_ALL_OTHERS: Final = -1


class UserBuckets:
    """A token bucket for each user, so that no user can block another one."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate = burst, rate
        self._clock = clock
        self._users: dict[int, TokenBucket] = {}

    def take(self, uid: int) -> bool:
        """Take a token of this user; return whether there was one."""
        if uid not in self._users and len(self._users) >= MAX_USERS:
            self._users = {each: bucket for each, bucket in self._users.items() if bucket.left() < self._burst}
        if uid not in (_ROOT, *self._users) and len(self._users) >= MAX_USERS:  # one person may use many user ids
            uid = _ALL_OTHERS
        return self._users.setdefault(uid, TokenBucket(self._burst, self._rate, self._clock)).take()


class ChangeLimit:
    """Counts the changes of each user separately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = UserBuckets(MAX_AT_ONCE, MAX_PER_SECOND, clock)

    def count(self, uid: int) -> None:
        """Count a change by this user; raises `EdgeInferError` if there are too many."""
        if not self._users.take(uid):
            raise EdgeInferError(
                f"too many changes: after {MAX_AT_ONCE} in a row the daemon accepts one a second; try again in a moment"
            )
