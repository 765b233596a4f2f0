"""Timestamps of outgoing messages: derived from the uptime at capture, and corrected once the clock is synchronized.

The clock of a board without a battery clock starts in 1970, or at the time of the last stop, and later jumps to the
correct time. The publisher keeps earlier captures with their uptime (seconds since the kernel started, which no clock
step changes). Once the time is known, the publisher computes their timestamps: uptime plus the current difference
between clock and uptime.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import Event, Health, Result, State, timestamp
from edge_infer.errors import WireError
from edge_infer.platform.clock import MADE, ConvertedClock, synchronised, uptime

Dated: TypeAlias = Result | Event | State | Health
"""Records that carry their capture time."""


class Clock:
    """The time of day, and whether it is known. Once known, it stays known while this process runs.

    The time is known when a time service has set the clock. If the system cannot report that, a clock that shows
    a time after `MADE` counts as set (decision 7).
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        says: Callable[[Path], bool | None] = synchronised,
        wall: Callable[[], float] = time.time,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self._root = root
        self._says = says
        self._wall = wall
        self._uptime = uptime
        self._time_of_day = ConvertedClock(wall, uptime)
        self.known = False
        self.look()

    def look(self) -> bool:
        """Return True if the time has become known since the last call."""
        if self.known:
            return False
        said = self._says(self._root)
        self.known = said or (said is None and self._plausible())
        return self.known

    def uptime(self) -> float:
        """Return the seconds since the kernel started."""
        return self._uptime()

    def now(self) -> str:
        """Return the current time as text for people; it is marked while the clock is not synchronized."""
        shown = timestamp(self._wall())[:16]
        return shown if self.known else f"{shown}, not synchronised"

    def dated(self, record: Dated, uptime: float) -> Dated:
        """Return the record with the time of this uptime, and with a mark while the time is not known.

        While the time is not known, the clock is the best estimate; if it is implausible, 1970 plus the uptime is used.
        Raises `WireError` for a time that is not a calendar date.
        """
        wall = self._time_of_day.at(uptime) if self.known or self._plausible() else uptime
        mark: Literal["unsynced"] | Absent = ABSENT if self.known else "unsynced"
        if isinstance(record, (Event, State)) and record.since is not ABSENT:
            since = wall - (seconds(record.ts) - seconds(record.since))
            return replace(record, ts=date(wall), since=date(since), clock=mark)
        told = date(wall)
        return record if (record.ts, record.clock) == (told, mark) else replace(record, ts=told, clock=mark)

    def _plausible(self) -> bool:
        return self._wall() >= MADE


def keep(payload: bytes, uptime: float) -> bytes:
    """Return a payload prefixed with its uptime, as it is queued if captured before the time was known."""
    return b"%.3f " % uptime + payload


def kept(waiting: bytes) -> tuple[float | None, bytes]:
    """Split a queued payload into its uptime, if any, and the payload itself. A record never begins with a digit.

    Raises `WireError`.
    """
    if not waiting[:1].isdigit():
        return None, waiting
    number, _, payload = waiting.partition(b" ")
    try:
        return float(number), payload
    except ValueError as error:
        raise WireError("the queued message does not begin with an uptime") from error


def date(wall: float) -> str:
    """Return the timestamp of a computed time; raises `WireError` for one that is not a calendar date."""
    try:
        return timestamp(wall)
    except (ValueError, OverflowError, OSError) as error:  # depends on the C library and the size of the error
        raise WireError(f"its time is not a calendar date: {error}") from error


def seconds(stamp: str) -> float:
    """Return the seconds since the epoch; raises `WireError` for a time that is not a calendar date."""
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise WireError(f"{stamp} is not a calendar date") from error
