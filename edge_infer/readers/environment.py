"""Sets environment variables for OpenCV and the name resolver; call it before either is used."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

from edge_infer.platform.memory import usable_memory

MAX_PIXELS: Final = 1 << 26
"""Maximum number of pixels of a picture, however large the memory is."""
_USUAL_PIXELS: Final = 1 << 24
"""Maximum number of pixels if the size of the memory is unknown."""
_BYTES_A_PIXEL: Final = 15
"""Bytes per pixel in frame memory: three channels in five slots."""
_SETTINGS: Final = {
    "OPENCV_LOG_LEVEL": "SILENT",  # OpenCV and FFmpeg would log the address with its password
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "5",  # seconds; the default of 10 would look like a hang
    "RES_OPTIONS": "timeout:2 attempts:1",  # so that a name server that is down causes an error and not a hang
}


def most_pixels(memory: int | None) -> int:
    """Return the maximum pixel count of a picture; its frame slots then take at most a quarter of ``memory`` (bytes).

    Without a limit, a small file can declare a picture size that fills the memory.
    """
    return _USUAL_PIXELS if memory is None else min(MAX_PIXELS, memory // 4 // _BYTES_A_PIXEL)


def bound_pictures() -> None:
    """Limit the size of pictures in this process unless the environment sets a limit. Call it before OpenCV loads."""
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(most_pixels(usable_memory())))


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set the variables in ``environment``; this does not affect libraries that are already loaded."""
    environment.update(_SETTINGS)
    environment["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(most_pixels(usable_memory()))
    environment.pop("OPENCV_FFMPEG_DEBUG", None)
