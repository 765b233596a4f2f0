"""The capture time of a frame that FFmpeg returns late."""

from __future__ import annotations

import time
from collections import deque
from typing import Final, TypeAlias

from edge_infer.platform.clock import ConvertedClock

Times: TypeAlias = tuple[float, float]
"""A capture time in seconds, of the wall clock and of the monotonic clock."""
WAITED: Final = 0.8
"""Share of a frame interval. A frame that took longer to arrive was waited for; one from the backlog comes at once."""
MAX_BACKLOG_SECONDS: Final = 2.0
"""Limit of the time for which frames are left out as backlog, in case the stream's own times are wrong."""


class StreamClock:
    """Dates the frames of a live stream that a decoder returns ``depth`` frames late.

    FFmpeg returns a frame when its decoder gets the ``depth``-th frame after it. So a frame arrived when the frame
    ``depth`` places before it was returned. While it opens a stream, FFmpeg also collects a backlog. These frames come
    faster than the stream's own times; when they arrived is unknown.
    """

    def __init__(self, depth: int, fps: float) -> None:
        self._depth = depth
        self._usual = 1 / fps if 0 < fps < 1000 else 0.0
        self._opened = self._previous = time.monotonic()
        self._shown: float | None = None
        self._returned: deque[float] = deque(maxlen=depth + 1)
        self._live = False
        self._wall = ConvertedClock(time.time, time.monotonic)
        self._last = 0.0

    def captured(self, shown: float) -> Times | None:
        """Return when the frame arrived that was returned just now; None if it is from the backlog.

        ``shown`` is the stream's own time of the frame, in seconds.
        """
        now = time.monotonic()
        step = shown - self._shown if self._shown is not None else 0.0
        step = step if step > 0 else self._usual
        waited = now - self._previous
        self._shown, self._previous = shown, now
        self._live = self._live or waited >= WAITED * step or now - self._opened > MAX_BACKLOG_SECONDS
        if not self._live:
            return None
        self._returned.append(now)
        complete = len(self._returned) > self._depth
        age = now - self._returned[0] if complete else self._depth * step
        self._last = max(self._last, now - age)
        return self._wall.at(self._last), self._last
