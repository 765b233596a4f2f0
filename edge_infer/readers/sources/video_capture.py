"""The part of OpenCV's ``VideoCapture`` that sources use, and the reading of one frame and of its capture time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import cv2

from edge_infer.errors import SourceError
from edge_infer.platform.clock import ConvertedClock
from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place

log = logging.getLogger(__name__)


class VideoCapture(Protocol):
    """Interface: a ``cv2.VideoCapture``, or a fake one."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether the device or file is open."""

    def set(self, prop: int, value: float, /) -> bool:
        """Set a property; return whether the backend supports it."""

    def get(self, prop: int, /) -> float:
        """Return a property; 0 if the backend does not support it."""

    def grab(self) -> bool:
        """Read the next picture without converting it; return False if there is none."""

    def retrieve(self, into: Any = None, /) -> tuple[bool, Any]:
        """Return whether the grabbed picture was converted, and its pixels, shaped (height, width, channels)."""

    def release(self) -> None:
        """Close the device or file."""


Retrieve: TypeAlias = Callable[[VideoCapture, Any], tuple[bool, Any]]
"""Converts the grabbed picture; raises `SourceError` if it detects that nothing was converted."""


def retrieve_plainly(capture: VideoCapture, into: Any) -> tuple[bool, Any]:
    """Convert the picture without a check. Sources use this for devices: OpenCV converts their pictures itself."""
    return capture.retrieve(into)


def grab_plainly(capture: VideoCapture) -> bool:
    """Grab the next picture as soon as it arrives."""
    return capture.grab()


def captured_now(_capture: VideoCapture) -> Times:
    """Return the time now, for a device that gives a frame as soon as it has captured it."""
    return time.time(), time.monotonic()


def next_picture(  # noqa: PLR0917 - each source replaces another step
    capture: VideoCapture,
    place: Place = no_place,
    wanted: Wanted = all_wanted,
    retrieve: Retrieve = retrieve_plainly,
    grab: Callable[[VideoCapture], bool] = grab_plainly,
    captured: Callable[[VideoCapture], Times | None] = captured_now,
) -> Picture | Passed | None:
    """Return the next frame, timestamped before its conversion; None when there is none or it cannot be decoded.

    `PASSED` is for a frame that is not needed, or without a known capture time (``captured`` returned None). Errors of
    ``retrieve`` are raised unchanged. The pixels are written to ``place``, if they fit. A frame that is not ``wanted``
    is only grabbed. With a V4L2 camera this only takes its buffer from the queue. FFmpeg still decodes the frame,
    because other frames depend on it, and only the conversion is skipped.
    """
    try:
        if not grab(capture):
            return None
        times = captured(capture)
        if times is None or not wanted(times[1]):
            return PASSED
        good, pixels = retrieve(capture, place())
    except SourceError:
        raise
    except (OSError, cv2.error) as error:
        log.debug("no frame: %s", error)
        return None
    if not good or pixels is None or pixels.size == 0:
        return None
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Picture(pixels, "gray" if pixels.ndim == 2 else "bgr", *times)


# The capture time of a frame that FFmpeg returns late.

Times: TypeAlias = tuple[float, float]
"""A capture time in seconds, of the wall clock and of the monotonic clock."""
WAITED: Final = 0.8
"""Share of a frame interval. A frame that took longer to arrive is live; a frame from the backlog comes at once."""
MAX_BACKLOG_SECONDS: Final = 2.0
"""Limit of the time for which frames are left out as backlog, in case the stream's own times are wrong."""


class StreamClock:
    """Dates the frames of a live stream that a decoder returns ``depth`` frames late.

    FFmpeg returns a frame when its decoder gets the ``depth``-th frame after it. So a frame arrived when the frame
    ``depth`` places before it was returned. While it opens a stream, FFmpeg also collects a backlog. The frames of the
    backlog come faster than the stream's own times, and their arrival times are unknown.
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
        """Return the arrival times of the frame that was just returned; None if the frame is from the backlog.

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
