"""The time of what leaves: told from the uptime at capture, and corrected once the board knows what time it is.

A board without a battery clock starts in 1970, or where it left off, and jumps. What is captured before that is kept
with its uptime (seconds since the kernel started, which no step touches), and told with the time of day as soon as
that is known: uptime plus what the clock shows more than the uptime then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from edge_infer.boot import uptime
from edge_infer.codec import ABSENT, Absent, replace
from edge_infer.errors import WireError
from edge_infer.messages import Event, Health, Result, State, timestamp
from edge_infer.synchronised import MADE, synchronised

Dated: TypeAlias = Result | Event | State | Health
"""What is told with the time of its capture."""


class Clock:
    """What time it is, and whether that is known; once known it stays known while this process lives.

    Known: a time service has set the clock. Where nobody can say whether one has, a clock that shows a time after this
    program was made counts as set (decision 7).
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
        self.known = False
        self.look()

    def look(self) -> bool:
        """True when the time has just become known."""
        if self.known:
            return False
        said = self._says(self._root)
        self.known = said or (said is None and self._plausible())
        return self.known

    def uptime(self) -> float:
        """Seconds since the kernel started."""
        return self._uptime()

    def now(self) -> str:
        """This moment, for people: what the clock shows, and whether to believe it."""
        shown = timestamp(self._wall())[:16]
        return shown if self.known else f"{shown}, not synchronised"

    def dated(self, record: Dated, uptime: float) -> Dated:
        """The record as of this uptime: its time, and the mark that it has while the time is not known.

        What the clock shows is the best guess until then; 1970 plus the uptime where that is nonsense. Raises
        `WireError` for an event or a state that began on no calendar.
        """
        wall = uptime + (self._wall() - self._uptime() if self.known or self._plausible() else 0.0)
        mark: Literal["unsynced"] | Absent = ABSENT if self.known else "unsynced"
        if isinstance(record, (Event, State)) and record.since is not ABSENT:
            since = wall - (seconds(record.ts) - seconds(record.since))
            return replace(record, ts=timestamp(wall), since=timestamp(since), clock=mark)
        told = timestamp(wall)
        return record if (record.ts, record.clock) == (told, mark) else replace(record, ts=told, clock=mark)

    def _plausible(self) -> bool:
        return self._wall() >= MADE


def keep(payload: bytes, uptime: float) -> bytes:
    """A payload that was captured before the time was known, with its uptime, as it waits on this device."""
    return b"%.3f " % uptime + payload


def kept(waiting: bytes) -> tuple[float | None, bytes]:
    """The uptime, where there is one, and the payload: a record begins with no digit. Raises `WireError`."""
    if not waiting[:1].isdigit():
        return None, waiting
    number, _, payload = waiting.partition(b" ")
    try:
        return float(number), payload
    except ValueError as error:
        raise WireError("what waited does not begin with an uptime") from error


def seconds(stamp: str) -> float:
    """Since the epoch; raises `WireError` for a time on no calendar."""
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise WireError(f"{stamp} is on no calendar") from error
