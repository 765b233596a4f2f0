"""A small picture of a mistake: the part of the input around it, with the labelled box and the found box."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from edge_infer.engine.replay.drawing import Canvas
from edge_infer.errors import InputError
from edge_infer.evaluate.scores import Mistake
from edge_infer.frames.frame import Pixels
from edge_infer.frames.geometry import Box
from edge_infer.frames.picture import read_picture

SIDE: Final = 480
"""Longest side in pixels; the page shows the picture in this size, so that lines and names stay legible."""
PEN: Final = 2
"""Width of the outlines in pixels."""
LEAST: Final = 96
"""Shortest side of the cut-out part in pixels of the input."""
AROUND: Final = 0.75
"""Border around the boxes, as a share of their longer side."""
QUALITY: Final = 85
TRUE: Final = (80, 200, 80)
FOUND: Final = (60, 90, 255)


def mistake_picture(mistake: Mistake) -> bytes | None:
    """Return a JPEG; None if the input is no picture, or can no longer be read."""
    if not mistake.path:
        return None
    try:
        pixels = read_picture(mistake.path)
    except InputError:
        return None
    boxes = [box for box in (mistake.true_box, mistake.found_box) if box is not None]
    part, left, top = _around(pixels, boxes)
    scale = SIDE / max(part.shape[:2])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(part, size, interpolation=smooth), np.uint8)
    canvas = Canvas(picture, PEN)
    score = "" if mistake.score is None else f" {mistake.score:.2f}"
    named = (
        (mistake.true_box, f"labelled {mistake.true}", TRUE),
        (mistake.found_box, f"found {mistake.found}{score}", FOUND),
    )
    for box, _, color in named:
        if box is not None:
            canvas.outline(_moved(box, left, top, scale), 1, color)
    for box, name, color in named:
        if box is not None:
            canvas.name_of(_moved(box, left, top, scale), 1, name, color)
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes() if done else None


def _around(pixels: Pixels, boxes: list[Box]) -> tuple[Pixels, int, int]:
    """Return the part of a picture around the boxes, and its left and top edge; without boxes the whole picture."""
    height, width = pixels.shape[:2]
    if not boxes:
        return pixels, 0, 0
    left, top = (min(box[side] for box in boxes) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
    border = AROUND * max(right - left, bottom - top)
    wider = max(0.0, (LEAST - (right - left)) / 2 - border)
    higher = max(0.0, (LEAST - (bottom - top)) / 2 - border)
    first = max(0, int(left - border - wider)), max(0, int(top - border - higher))
    last = min(width, int(right + border + wider) + 1), min(height, int(bottom + border + higher) + 1)
    part = pixels[first[1] : max(last[1], first[1] + 1), first[0] : max(last[0], first[0] + 1)]
    return (part, *first) if part.size else (pixels, 0, 0)


def _moved(box: Box, left: int, top: int, scale: float) -> Box:
    xmin, ymin, xmax, ymax = box
    return (xmin - left) * scale, (ymin - top) * scale, (xmax - left) * scale, (ymax - top) * scale
