"""The part of OpenCV's ``VideoCapture`` that sources use, and the reading of one frame from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import cv2

from edge_infer.errors import SourceError
from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place
from edge_infer.readers.sources.capture_time import Times

log = logging.getLogger(__name__)


class VideoCapture(Protocol):
    """Interface: a ``cv2.VideoCapture``, or a fake one."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether there is anything to read."""

    def set(self, prop: int, value: float, /) -> bool:
        """Set a property; return whether the backend knows it."""

    def get(self, prop: int, /) -> float:
        """Return a property; 0 if the backend does not know it."""

    def grab(self) -> bool:
        """Read the next picture without converting it; return False if there is none."""

    def retrieve(self, into: Any = None, /) -> tuple[bool, Any]:
        """Return whether the grabbed picture was converted, and its pixels, shaped (height, width, channels)."""

    def release(self) -> None:
        """Close the device or file."""


Retrieve: TypeAlias = Callable[[VideoCapture, Any], tuple[bool, Any]]
"""Converts the grabbed picture; raises `SourceError` if it detects that nothing was converted."""


def retrieve_plainly(capture: VideoCapture, into: Any) -> tuple[bool, Any]:
    """Convert the picture without a check. This is for devices, whose pictures OpenCV converts itself."""
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

    `PASSED` is for a frame that is not needed, or whose capture time is unknown (``captured`` returned None). Errors of
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
