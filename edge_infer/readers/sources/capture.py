"""What OpenCV's ``VideoCapture`` offers, as far as sources use it, and one frame of it."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

import cv2

from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place

log = logging.getLogger(__name__)


class Capture(Protocol):
    """A ``cv2.VideoCapture``, or a fake one."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name

    def set(self, prop: int, value: float, /) -> bool: ...

    def get(self, prop: int, /) -> float: ...

    def grab(self) -> bool: ...

    def retrieve(self, into: Any = None, /) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


def next_picture(capture: Capture, place: Place = no_place, wanted: Wanted = all_wanted) -> Picture | Passed | None:
    """The next frame, stamped before it is converted; None when there is none or it cannot be decoded.

    Its pixels are written where ``place`` says, if they fit there. One that is not ``wanted`` is only grabbed: of a
    V4L2 camera that is taking its buffer, of FFmpeg all but the conversion, as other frames are made from it.
    """
    try:
        if not capture.grab():
            return None
        wall, monotonic = time.time(), time.monotonic()
        if not wanted(monotonic):
            return PASSED
        good, pixels = capture.retrieve(place())
    except (OSError, cv2.error) as error:
        log.debug("no frame: %s", error)
        return None
    if not good or pixels is None or pixels.size == 0:
        return None
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Picture(pixels, "gray" if pixels.ndim == 2 else "bgr", wall, monotonic)
