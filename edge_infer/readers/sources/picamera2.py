"""A camera at the ribbon connector of a Raspberry Pi, through picamera2 from Raspberry Pi OS."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Picture

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Picamera2Options:
    """``camera`` counts from 0; ``fps`` is the frame rate requested from the sensor."""

    camera: int = 0
    width: int = 640
    height: int = 480
    fps: float | None = None


def import_picamera2() -> Any:
    """Import the system's picamera2 module; raises `SourceError`."""
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise SourceError(
            f"picamera2 cannot be imported ({error}): sudo apt install python3-picamera2, and make it visible in "
            "the environment of edge-infer (python3 -m venv --system-site-packages); kind: exec with rpicam-vid "
            "needs neither"
        ) from error
    except Exception as error:  # libcamera's binding and numpy of another version fail in many ways
        raise SourceError(f"picamera2 cannot be used here: {error}; use kind: exec with rpicam-vid") from error


class Picamera2Source(Closing):
    """Frames of one camera. ``factory`` returns the picamera2 module."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    Options = Picamera2Options

    def __init__(self, options: Picamera2Options, factory: Callable[[], Any] = import_picamera2) -> None:
        self._options = options
        self._factory = factory
        self._camera: Any = None

    def __enter__(self) -> Self:
        module, number = self._factory(), self._options.camera
        found = len(module.Picamera2.global_camera_info())
        if number >= found:
            raise SourceError(
                f"there is no camera {number}: libcamera finds {found or 'none'}; check the ribbon cable and "
                "`rpicam-hello --list-cameras`"
            )
        try:
            self._camera = module.Picamera2(number)
            self._start(self._camera)
        except Exception as error:  # libcamera raises exceptions of any type
            self.close()
            raise SourceError(f"camera {number} does not start: {error}; another program may use it") from error
        return self

    def read(self) -> Picture | None:
        """Return the next frame; raises `SourceError` when the camera delivers none."""
        if self._camera is None:
            raise SourceError(f"camera {self._options.camera} is not open")
        try:
            pixels = np.asarray(self._camera.capture_array("main"), np.uint8)
        except Exception as error:  # as above
            raise SourceError(f"camera {self._options.camera} delivers no frames: {error}") from error
        return Picture(pixels[:, :, :3], "bgr", time.time(), time.monotonic())

    def close(self) -> None:
        """Close the camera; may be called twice."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()

    def _start(self, camera: Any) -> None:
        """Configure and start the camera; ``RGB888`` is libcamera's name for bytes in the order blue, green, red."""
        options = self._options
        main = {"size": (options.width, options.height), "format": "RGB888"}
        controls = {"FrameRate": options.fps} if options.fps is not None else {}
        camera.configure(camera.create_video_configuration(main=main, controls=controls, buffer_count=3))
        camera.start()
