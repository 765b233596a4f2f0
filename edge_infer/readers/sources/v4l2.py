"""A camera at a V4L2 device: USB cameras, capture cards, and other ``/dev/video*`` devices."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import cv2

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Passed, Picture, Place, Wanted, all_wanted, no_place
from edge_infer.readers.sources.video_capture import VideoCapture, next_picture

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class V4l2Options:
    """``format`` is a FOURCC such as MJPG or YUYV; the driver chooses values that are None."""

    device: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.format is not None and len(self.format) != 4:
            raise ValueError(f"invalid format {self.format!r}; expected four characters, such as MJPG or YUYV")


def open_device(device: str) -> VideoCapture:
    """Return OpenCV's capture of a V4L2 device."""
    capture: VideoCapture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    return capture


class V4l2Source(Closing):
    """Frames of one device.

    The driver keeps only one buffer, so each frame is the newest. ``factory`` opens the device.
    """

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    Options = V4l2Options

    def __init__(self, options: V4l2Options, factory: Callable[[str], VideoCapture] = open_device) -> None:
        self._options = options
        self._factory = factory
        self._capture: VideoCapture | None = None
        self.place: Place = no_place
        self.wanted: Wanted = all_wanted

    def __enter__(self) -> Self:
        device = self._options.device
        self._check(device)
        self._capture = self._factory(device)
        if not self._capture.isOpened():
            self.close()
            raise SourceError(
                f"{device} cannot be opened as a camera: another program uses it, or it is not a capture device; "
                "`edge-infer cameras` lists capture devices"
            )
        self._set_up(self._capture)
        return self

    def read(self) -> Picture | Passed | None:
        """Return the next frame; raises `SourceError` when the camera delivers none."""
        picture = next_picture(self._capture, self.place, self.wanted) if self._capture is not None else None
        if picture is None:
            raise SourceError(f"{self._options.device} delivers no frames: unplugged, or silent for 5 s")
        return picture

    def close(self) -> None:
        """Close the device; may be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _check(self, device: str) -> None:
        """Raise `SourceError` with the reason if the device cannot be opened; OpenCV reports none."""
        if self._factory is not open_device:
            return
        try:
            os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
        except FileNotFoundError as error:
            raise SourceError(
                f"{device} does not exist: no camera is plugged in there; see `edge-infer cameras`"
            ) from error
        except PermissionError as error:
            raise SourceError(
                f"no permission to open {device}: the daemon's user must be in the group `video`"
            ) from error
        except OSError as error:
            why = "another program uses it" if error.errno == errno.EBUSY else os.strerror(error.errno or 0)
            raise SourceError(f"{device} cannot be opened: {why}") from error

    def _set_up(self, capture: VideoCapture) -> None:
        options = self._options
        if options.format is not None:  # first, because the sizes and rates that a camera offers depend on it
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.format))
        wanted = (
            ("width", cv2.CAP_PROP_FRAME_WIDTH, options.width),
            ("height", cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            ("fps", cv2.CAP_PROP_FPS, options.fps),
        )
        for _, prop, value in wanted:
            if value is not None:
                capture.set(prop, float(value))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1.0)
        for name, prop, value in wanted:
            given = capture.get(prop)
            if value is not None and given and abs(given - value) > 0.5:
                log.warning("%s: the camera delivers %s %g instead of %g", options.device, name, given, value)
