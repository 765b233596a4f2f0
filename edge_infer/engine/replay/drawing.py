"""Draws findings into a picture for display. Drawing sends nothing off the device."""

from __future__ import annotations

import colorsys
from collections.abc import Container, Iterable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.cascade.answers import Answered, Answers
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.frames.frame import Pixels
from edge_infer.frames.geometry import Box

# A picture to draw into. Pen and font suit its size, and labels avoid covering each other.

SMALLEST: Final = 480
"""Length in pixels to which the longer side of a small picture is enlarged, so that its labels are legible."""
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE: Final = 0.618034
SEEN: Final = 0.3
"""The lowest score of a keypoint that is drawn as visible."""
BODY: Final = 17
"""Keypoints of a body in COCO, MoveNet, PoseNet and YOLO: face (5), arms (6), legs (6), left before right."""
BONES: Final = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),
    *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
)
FAR: Final = 30_000.0
DARK: Final = (24, 24, 24)
WHITE: Final = (255, 255, 255)
_MARGIN: Final = 3

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
Points = NDArray[np.float64]


def enlarged(pixels: Pixels) -> tuple[Pixels, int]:
    """Return a copy of the picture, enlarged by a whole factor if the picture is small, and the factor."""
    factor = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    return np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1), factor


def class_color(class_id: int) -> Color:
    """Return a bright colour (blue, green, red) that is distinct for each class."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * GOLDEN_ANGLE % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


class Canvas:
    """Draws into ``picture`` in place (blue, green, red); ``pen`` is the width of lines, by default by its size."""

    def __init__(self, picture: Pixels, pen: int | None = None) -> None:
        self.picture = picture
        self.height, self.width = picture.shape[:2]
        longer = max(self.height, self.width)
        self._scale: float = max(0.45, longer / 1600)
        self._weight = max(1, round(self._scale * 1.6))
        self._pen = pen or max(1, round(longer / 500))
        self.taken: list[Rectangle] = []
        """Areas already taken by labels: left, top, right, bottom."""

    def like(self, picture: Pixels) -> Canvas:
        """Return a canvas for another picture with the font and pen size of this one."""
        other = Canvas(picture)
        other._scale, other._weight, other._pen = self._scale, self._weight, self._pen
        return other

    def box(self, found: Detection, factor: int, *, marked: bool = False) -> None:
        """Draw the outline of an object; ``marked``: with a white rim."""
        self.outline(found.box, factor, class_color(found.class_id), marked=marked)

    def outline(self, box: Box, factor: int, color: Color, *, marked: bool = False) -> None:
        """Draw a rectangle."""
        xmin, ymin, xmax, ymax = (_place(side * factor) for side in box)
        if marked:
            cv2.rectangle(self.picture, (xmin, ymin), (xmax, ymax), WHITE, self._pen + 4)
        cv2.rectangle(self.picture, (xmin, ymin), (xmax, ymax), color, self._pen)

    def names(self, objects: Iterable[Detection], factor: int) -> None:
        """Draw the labels of objects; call it after all boxes are drawn."""
        for found in objects:
            text = f"{found.label} {found.score:.2f}" + (f" #{found.number}" if found.number else "")
            self.name_of(found.box, factor, text, class_color(found.class_id))

    def name_of(self, box: Box, factor: int, text: str, color: Color) -> None:
        """Draw a text above or below a box, or inside if neither has room."""
        xmin, ymin, xmax, ymax = (_place(side * factor) for side in box)
        width, height = self.size(text)
        tops = (ymin - height, ymax, ymin - 2 * height, ymax + height, ymin, ymin + height)
        lefts = (xmin, xmax - width, (xmin + xmax - width) // 2)
        self.name(text, [(left, top) for top in tops for left in lefts], color)

    def name(self, text: str, places: list[tuple[int, int]], color: Color) -> None:
        """Draw a text on a background of this colour, at the place (left, top) where it covers other labels least."""
        width, height = self.size(text)
        rooms = [
            (min(max(0, left), max(0, self.width - width)), min(max(0, top), max(0, self.height - height)))
            for left, top in places
        ]
        taken = [(left, top, left + width, top + height) for left, top in rooms]
        chosen = min(range(len(taken)), key=lambda index: sum(_common(taken[index], name) for name in self.taken))
        self.taken.append(taken[chosen])
        self.text(text, *rooms[chosen], color)

    def area(self, corners: Points, color: Color, *, filled: bool) -> None:
        """Draw a polygon, ``[n, 2]`` in pixels; tint its inside if ``filled``."""
        points = [np.rint(corners).astype(np.int32)]
        if filled:
            tinted = self.picture.copy()
            cv2.fillPoly(tinted, points, color)
            cv2.addWeighted(tinted, 0.15, self.picture, 0.85, 0.0, self.picture)
        cv2.polylines(self.picture, points, True, color, self._pen + 1, cv2.LINE_AA)

    def arrow(self, start: tuple[int, int], end: tuple[int, int], color: Color) -> None:
        """Draw an arrow."""
        length = max(1.0, float(np.hypot(end[0] - start[0], end[1] - start[1])))
        cv2.arrowedLine(self.picture, start, end, color, self._pen + 1, cv2.LINE_AA, tipLength=12 * self._pen / length)

    def body(self, body: Body, factor: int, color: Color) -> None:
        """Draw the bones between visible keypoints, a dot for each visible keypoint and a ring for each hidden one."""
        places = [(_place(x * factor), _place(y * factor)) for x, y, _ in body.points]
        seen = [score >= SEEN for _, _, score in body.points]
        for start, end in BONES if len(places) == BODY else ():
            if seen[start] and seen[end]:
                cv2.line(self.picture, places[start], places[end], color, self._pen, cv2.LINE_AA)
        for place, solid in zip(places, seen, strict=True):
            cv2.circle(self.picture, place, 2 * self._pen, color, cv2.FILLED if solid else 1, cv2.LINE_AA)

    def table(self, rows: list[tuple[str, Color]]) -> None:
        """Draw lines of text, each on a background of its colour."""
        for row, (text, color) in enumerate(rows):
            self.text(text, _MARGIN, _MARGIN + row * self.row, color)

    def text(self, text: str, left: int, top: int, color: Color) -> None:
        """Draw a text on a background of this colour."""
        width, height = self.size(text)
        cv2.rectangle(self.picture, (left, top), (left + width, top + height), color, cv2.FILLED)
        self.write(text, left, top, (0, 0, 0) if sum(color) > 380 else WHITE)

    def write(self, text: str, left: int, top: int, ink: Color) -> None:
        """Draw a text without a background."""
        base = top + self.size(text)[1] - round(self.size(text)[1] * 0.3)
        place = (left + _MARGIN, base)
        cv2.putText(self.picture, _plain(text), place, FONT, self._scale, ink, self._weight, cv2.LINE_AA)

    def size(self, text: str) -> tuple[int, int]:
        """Return width and height of a text with its background; the height is the same for every text."""
        width = cv2.getTextSize(_plain(text), FONT, self._scale, self._weight)[0][0]
        (_, height), below = cv2.getTextSize("Ag", FONT, self._scale, self._weight)
        return width + 2 * _MARGIN, height + below + 2 * _MARGIN

    @property
    def row(self) -> int:
        """Distance in pixels from one line of text to the next."""
        return self.size("")[1] + _MARGIN

    def wrapped(self, text: str, most: int) -> list[str]:
        """Break the text into at most ``most`` lines of the width; shorten the last line if necessary."""
        lines, words = [""], text.split()
        for word in words:
            longer = f"{lines[-1]} {word}".strip()
            if self.size(longer)[0] <= self.width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        if len(lines) > most:
            lines = [*lines[: most - 1], lines[most - 1] + " ..."]
            while self.size(lines[-1])[0] > self.width and " " in lines[-1][:-4]:
                lines[-1] = lines[-1][:-4].rpartition(" ")[0] + " ..."
        return lines


def _common(one: Rectangle, other: Rectangle) -> int:
    """Return the number of pixels in which two rectangles overlap."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def _place(pixel: float) -> int:
    """Return a coordinate limited to the range that OpenCV can draw; points may lie anywhere."""
    return round(min(max(pixel, -FAR), FAR))


def _plain(text: str) -> str:
    """Replace characters outside ASCII, because the built-in font has no others."""
    return text.encode("ascii", "replace").decode()


# Drawing of findings into a picture.

GREY: Final = (90, 90, 90)


def annotate(pixels: Pixels, findings: Findings | Answers) -> Pixels:
    """Return a new picture (blue, green, red) with boxes, bodies, classes or shares; a small picture is enlarged."""
    picture, factor = enlarged(pixels)
    draw(Canvas(picture), factor, findings)
    return picture


def draw(canvas: Canvas, factor: int, findings: Findings | Answers, marked: Container[int] = ()) -> None:
    """Draw findings into a picture ``factor`` times as large as the frame; mark the objects with ids in ``marked``."""
    if isinstance(findings, Answers):
        for answered in reversed(findings.each):
            _answer(canvas, factor, answered)
        return
    findings = findings.detections if isinstance(findings, Followed) else findings
    if isinstance(findings, ClassificationFindings):
        rows = [(f"{item.label} {item.score:.2f}", class_color(item.class_id)) for item in findings.classes]
        canvas.table(rows or [("nothing above the threshold", GREY)])
    elif isinstance(findings, SegmentationFindings):
        rows = [(f"{item.label} {item.share:.1%}", class_color(item.class_id)) for item in findings.segments]
        canvas.table(rows or [("nothing above the threshold", GREY)])
    elif isinstance(findings, Poses):
        for number, body in reversed(list(enumerate(findings.bodies))):  # the best one is drawn last, on top
            canvas.body(body, factor, class_color(number))
    elif isinstance(findings, Detections):
        for found in reversed(findings.objects):  # the best one is drawn last, on top
            canvas.box(found, factor, marked=found.number is not None and found.number in marked)
        canvas.names(findings.objects, factor)


def _answer(canvas: Canvas, factor: int, answered: Answered) -> None:
    """Draw an object in the colour of its id, with the findings of its crop."""
    about, said = answered.about, answered.findings
    color, name = class_color(about.id or 0), f"#{about.id}" if about.id else about.found.label
    canvas.outline(about.found.box, factor, color)
    if isinstance(said, (Poses, Detections)):
        draw(canvas, factor, said)
    else:
        name = f"{name} {_words(said)}"
    canvas.name_of(about.found.box, factor, name, color)


def _words(said: Findings) -> str:
    """Return the findings about an object as a short text."""
    if isinstance(said, ClassificationFindings):
        return " ".join(f"{item.label} {item.score:.2f}" for item in said.classes[:1]) or "nothing"
    if isinstance(said, SegmentationFindings):
        return " ".join(f"{item.label} {item.share:.0%}" for item in said.segments[:2]) or "nothing"
    return str(said.essence)
