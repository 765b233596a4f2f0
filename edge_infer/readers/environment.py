"""Set environment variables for OpenCV and the resolver before their first use."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

MAX_PIXELS: Final = 1 << 26
"""A small file can claim to be a picture that fills the memory."""
_SETTINGS: Final = {
    "OPENCV_LOG_LEVEL": "SILENT",  # OpenCV and FFmpeg would print the address with its password
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "5",  # seconds; the default of 10 would look like a hang
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    "RES_OPTIONS": "timeout:2 attempts:1",  # so that a dead name server ends as an error and not as a hang
}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set the variables in ``environment``; this does not affect libraries that are already loaded."""
    environment.update(_SETTINGS)
    environment.pop("OPENCV_FFMPEG_DEBUG", None)
