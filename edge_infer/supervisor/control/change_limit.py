"""Limits the changes that a user may make over the control socket: each is logged, and some are written to disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from edge_infer.errors import EdgeInferError
from edge_infer.platform.rate_limits import TokenBucket

MAX_AT_ONCE: Final = 128
MAX_PER_SECOND: Final = 1.0
MAX_USERS: Final = 32
"""Number of users that are counted separately. Further users share one limit, until one of these has made no change for
a while."""
_ALL_OTHERS: Final = -1


class ChangeLimit:
    """Counts the changes of each user separately, so that no user can block another one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._users: dict[int, TokenBucket] = {}

    def count(self, uid: int) -> None:
        """Count a change by this user; raises `EdgeInferError` if there are too many."""
        if uid not in self._users and len(self._users) >= MAX_USERS:
            self._users = {each: bucket for each, bucket in self._users.items() if bucket.left() < MAX_AT_ONCE}
        if uid not in self._users and len(self._users) >= MAX_USERS:  # one person may use many user ids
            uid = _ALL_OTHERS
        bucket = self._users.setdefault(uid, TokenBucket(MAX_AT_ONCE, MAX_PER_SECOND, self._clock))
        if not bucket.take():
            raise EdgeInferError(
                f"too many changes: after {MAX_AT_ONCE} in a row the daemon accepts one a second; try again in a moment"
            )
