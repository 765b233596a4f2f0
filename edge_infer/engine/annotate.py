"""Findings drawn into a picture, for the eye; nothing of this leaves the device by itself."""

from __future__ import annotations

import colorsys
from typing import Final

import cv2
import numpy as np

from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.cascade.answers import Answered, Answers
from edge_infer.engine.frame import Pixels
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections, Found
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.segmentation import Segmentation

SMALLEST: Final = 480
"""Longer side in pixels to which a small picture is enlarged, so that its text can be read."""
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE: Final = 0.618034
SEEN: Final = 0.3
"""The least score of a keypoint that is drawn as seen."""
BODY: Final = 17
"""Keypoints of a body as COCO, MoveNet, PoseNet and YOLO have them: face (5), arms (6), legs (6), left before right."""
BONES: Final = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),
    *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
)
FAR: Final = 30_000.0
_MARGIN: Final = 3

Color = tuple[int, int, int]


def annotate(pixels: Pixels, findings: Findings | Answers) -> Pixels:
    """A new picture (blue, green, red) with boxes, bodies, classes or shares drawn in; a small one is enlarged."""
    factor = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    picture = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    canvas = _Canvas(picture)
    if isinstance(findings, Answers):
        for answered in reversed(findings.each):
            canvas.answer(answered, factor)
    else:
        _draw(canvas, findings, factor)
    return picture


def _draw(canvas: _Canvas, findings: Findings, factor: int) -> None:
    findings = findings.detections if isinstance(findings, Followed) else findings
    if isinstance(findings, Classification):
        canvas.table([(f"{item.label} {item.score:.2f}", item.class_id) for item in findings.classes])
    elif isinstance(findings, Segmentation):
        canvas.table([(f"{item.label} {item.share:.1%}", item.class_id) for item in findings.segments])
    elif isinstance(findings, Poses):
        for number, body in reversed(list(enumerate(findings.bodies))):  # the best on top
            canvas.body(body, factor, _color(number))
    elif isinstance(findings, Detections):
        for found in reversed(findings.objects):  # the best on top
            canvas.box(found, factor)


class _Canvas:
    """A picture with a pen and a letter size that suit its own size."""

    def __init__(self, picture: Pixels) -> None:
        self._picture = picture
        self._height, self._width = picture.shape[:2]
        longer = max(self._height, self._width)
        self._scale: float = max(0.45, longer / 1600)
        self._weight = max(1, round(self._scale * 1.6))
        self._pen = max(1, round(longer / 500))

    def answer(self, answered: Answered, factor: int) -> None:
        """An object in the colour of its id, and what was said of it."""
        about, said = answered.about, answered.findings
        color, name = _color(about.id or 0), f"#{about.id}" if about.id else about.found.label
        if isinstance(said, Poses):
            self._frame(about.found.box, name, color, factor)
            for body in reversed(said.bodies):
                self.body(body, factor, color)
        elif isinstance(said, Detections):
            self._frame(about.found.box, name, color, factor)
            for found in reversed(said.objects):
                self.box(found, factor)
        else:
            self._frame(about.found.box, f"{name} {_words(said)}", color, factor)

    def box(self, found: Found, factor: int) -> None:
        text = f"{found.label} {found.score:.2f}" + (f" #{found.number}" if found.number else "")
        self._frame(found.box, text, _color(found.class_id), factor)

    def _frame(self, box: tuple[float, float, float, float], text: str, color: Color, factor: int) -> None:
        xmin, ymin, xmax, ymax = (round(side * factor) for side in box)
        cv2.rectangle(self._picture, (xmin, ymin), (xmax, ymax), color, self._pen)
        width, height = self._size(text)
        top = ymin - height if ymin >= height else ymin  # inside where there is no room above
        self._text(text, min(xmin, max(0, self._width - width)), min(top, self._height - height), color)

    def body(self, body: Body, factor: int, color: Color) -> None:
        """Bones between points that are seen, a full dot for each of these and a ring for the others."""
        places = [(_place(x * factor), _place(y * factor)) for x, y, _ in body.points]
        seen = [score >= SEEN for _, _, score in body.points]
        for start, end in BONES if len(places) == BODY else ():
            if seen[start] and seen[end]:
                cv2.line(self._picture, places[start], places[end], color, self._pen, cv2.LINE_AA)
        for place, solid in zip(places, seen, strict=True):
            cv2.circle(self._picture, place, 2 * self._pen, color, cv2.FILLED if solid else 1, cv2.LINE_AA)

    def table(self, rows: list[tuple[str, int]]) -> None:
        """Lines of text, each in the colour of its class."""
        for row, (text, class_id) in enumerate(rows):
            self._line(row, text, _color(class_id))
        if not rows:
            self._line(0, "nothing above the threshold", (90, 90, 90))

    def _line(self, row: int, text: str, color: Color) -> None:
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


def _words(said: Findings) -> str:
    """What was said of an object, in a few words."""
    if isinstance(said, Classification):
        return " ".join(f"{item.label} {item.score:.2f}" for item in said.classes[:1]) or "nothing"
    if isinstance(said, Segmentation):
        return " ".join(f"{item.label} {item.share:.0%}" for item in said.segments[:2]) or "nothing"
    return str(said.essence)


def _place(pixel: float) -> int:
    """A coordinate that OpenCV can draw at: points may lie anywhere."""
    return round(min(max(pixel, -FAR), FAR))


def _color(class_id: int) -> Color:
    """A bright colour of a class of its own (blue, green, red)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * GOLDEN_ANGLE % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _plain(text: str) -> str:
    """The built-in letters are ASCII."""
    return text.encode("ascii", "replace").decode()
