"""Draws findings into a picture for display; nothing of this leaves the device by itself."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.canvas import Canvas, class_color, enlarged
from edge_infer.engine.cascade.answers import Answered, Answers
from edge_infer.engine.frame import Pixels
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.segmentation import Segmentation

GREY: Final = (90, 90, 90)


def annotate(pixels: Pixels, findings: Findings | Answers) -> Pixels:
    """Return a new picture (blue, green, red) with boxes, bodies, classes or shares; enlarge a small one."""
    picture, factor = enlarged(pixels)
    draw(Canvas(picture), factor, findings)
    return picture


def draw(canvas: Canvas, factor: int, findings: Findings | Answers, marked: Container[int] = ()) -> None:
    """Draw findings into a picture ``factor`` times as large as the frame; mark the objects numbered in ``marked``."""
    if isinstance(findings, Answers):
        for answered in reversed(findings.each):
            _answer(canvas, factor, answered)
        return
    findings = findings.detections if isinstance(findings, Followed) else findings
    if isinstance(findings, Classification):
        rows = [(f"{item.label} {item.score:.2f}", class_color(item.class_id)) for item in findings.classes]
        canvas.table(rows or [("nothing above the threshold", GREY)])
    elif isinstance(findings, Segmentation):
        rows = [(f"{item.label} {item.share:.1%}", class_color(item.class_id)) for item in findings.segments]
        canvas.table(rows or [("nothing above the threshold", GREY)])
    elif isinstance(findings, Poses):
        for number, body in reversed(list(enumerate(findings.bodies))):  # the best is drawn last, on top
            canvas.body(body, factor, class_color(number))
    elif isinstance(findings, Detections):
        for found in reversed(findings.objects):  # the best is drawn last, on top
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
    if isinstance(said, Classification):
        return " ".join(f"{item.label} {item.score:.2f}" for item in said.classes[:1]) or "nothing"
    if isinstance(said, Segmentation):
        return " ".join(f"{item.label} {item.share:.0%}" for item in said.segments[:2]) or "nothing"
    return str(said.essence)
