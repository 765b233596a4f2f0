"""Findings drawn into a picture, for the eye; nothing of this leaves the device by itself."""

from __future__ import annotations

import colorsys
from typing import Final

import cv2
import numpy as np

from edge_infer.engine.frame import Pixels
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections, Found

SMALLEST: Final = 480
"""Longer side in pixels to which a small picture is enlarged, so that its text can be read."""
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE: Final = 0.618034
_MARGIN: Final = 3

Color = tuple[int, int, int]


def annotate(pixels: Pixels, findings: Findings) -> Pixels:
    """A new picture (blue, green, red) with boxes or the best classes drawn in; a small one is enlarged."""
    factor = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    picture = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    canvas = _Canvas(picture)
    if isinstance(findings, Classification):
        for row, item in enumerate(findings.classes):
            canvas.line(row, f"{item.label} {item.score:.2f}", _color(item.class_id))
        if not findings.classes:
            canvas.line(0, "nothing above the threshold", (90, 90, 90))
    elif isinstance(findings, Detections):
        for found in reversed(findings.objects):  # the best on top
            canvas.box(found, factor)
    return picture


class _Canvas:
    """A picture with a pen and a letter size that suit its own size."""

    def __init__(self, picture: Pixels) -> None:
        self._picture = picture
        self._height, self._width = picture.shape[:2]
        longer = max(self._height, self._width)
        self._scale: float = max(0.45, longer / 1600)
        self._weight = max(1, round(self._scale * 1.6))
        self._pen = max(1, round(longer / 500))

    def box(self, found: Found, factor: int) -> None:
        color = _color(found.class_id)
        xmin, ymin, xmax, ymax = (round(side * factor) for side in found.box)
        cv2.rectangle(self._picture, (xmin, ymin), (xmax, ymax), color, self._pen)
        text = f"{found.label} {found.score:.2f}"
        width, height = self._size(text)
        top = ymin - height if ymin >= height else ymin  # inside where there is no room above
        self._text(text, min(xmin, max(0, self._width - width)), min(top, self._height - height), color)

    def line(self, row: int, text: str, color: Color) -> None:
        self._text(text, _MARGIN, _MARGIN + row * (self._size(text)[1] + _MARGIN), color)

    def _text(self, text: str, left: int, top: int, color: Color) -> None:
        width, height = self._size(text)
        cv2.rectangle(self._picture, (left, top), (left + width, top + height), color, cv2.FILLED)
        ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
        base = top + height - round(height * 0.3)
        place = (left + _MARGIN, base)
        cv2.putText(self._picture, _plain(text), place, FONT, self._scale, ink, self._weight, cv2.LINE_AA)

    def _size(self, text: str) -> tuple[int, int]:
        """Width and height of a text with its background; the height is the same for every text."""
        width = cv2.getTextSize(_plain(text), FONT, self._scale, self._weight)[0][0]
        (_, height), below = cv2.getTextSize("Ag", FONT, self._scale, self._weight)
        return width + 2 * _MARGIN, height + below + 2 * _MARGIN


def _color(class_id: int) -> Color:
    """A bright colour of a class of its own (blue, green, red)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * GOLDEN_ANGLE % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _plain(text: str) -> str:
    """The built-in letters are ASCII."""
    return text.encode("ascii", "replace").decode()
