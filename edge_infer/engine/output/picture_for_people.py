"""Pictures for people at the device: a whole frame as PNG, or a small JPEG with its brightness and sharpness.

Masked areas are black before anything is encoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.pixels import black_out
from edge_infer.plan.records import Polygon

QUALITY: Final = 80
"""JPEG quality on a scale to 100."""
BORDER: Final = 5
"""Pixels around a mask that do not count for the sharpness, because the border of the mask itself is sharp."""
DECADES: Final = 4.0
"""Base-10 logarithm of the variance of the Laplacian of a sharp picture, approximately."""


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """A JPEG with its width and height; ``light`` and ``sharpness`` have the meaning of those in `Look`."""

    jpeg: bytes
    size: tuple[int, int]
    light: float | None
    sharpness: float


def png(frame: Frame, masks: tuple[Polygon, ...]) -> bytes:
    """Return the whole frame as PNG."""
    return _encoded(".png", _bgr(black_out(frame.pixels.copy(), masks), frame))


def small_picture(frame: Frame, masks: tuple[Polygon, ...], side: int) -> SmallPicture:
    """Return the frame as a JPEG with sides of at most ``side`` pixels."""
    width, height = frame.size
    share = min(1.0, side / max(width, height))
    size = max(1, round(width * share)), max(1, round(height * share))
    whole = black_out(frame.pixels.copy(), masks) if masks else frame.pixels
    pixels = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    visible = black_out(np.full(pixels.shape[:2], 255, np.uint8), masks)
    light, sharpness = _measured(_gray(pixels, frame), visible)
    return SmallPicture(_encoded(".jpg", _bgr(pixels, frame)), size, light, sharpness)


def _measured(gray: Pixels, visible: Pixels) -> tuple[float | None, float]:
    """Return the mean brightness and the sharpness of the visible area."""
    inside = cv2.erode(visible, np.ones((BORDER, BORDER), np.uint8)) > 0
    if not inside.any():
        return None, 0.0
    details: NDArray[np.float32] = np.asarray(cv2.Laplacian(gray, cv2.CV_32F), np.float32)[inside]
    sharpness = math.log10(1.0 + float(details.var())) / DECADES
    return round(float(gray[inside].mean()) / 255, 3), round(sharpness, 3)


def _gray(pixels: Pixels, frame: Frame) -> Pixels:
    if frame.color == "gray":
        return pixels
    code = cv2.COLOR_RGB2GRAY if frame.color == "rgb" else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _bgr(pixels: Pixels, frame: Frame) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8) if frame.color == "rgb" else pixels


def _encoded(suffix: str, pixels: Pixels) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, pixels, options)[1].tobytes())
