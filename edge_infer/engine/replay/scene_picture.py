"""Draws a frame with its scene; below the frame it writes the events and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from edge_infer.contract.messages import Event
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.motion.gate import Glance
from edge_infer.engine.replay.drawing import DARK, WHITE, Canvas, Color, draw, enlarged
from edge_infer.engine.tasks import Findings
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.plan.records import PipelinePlan

EVENTS: Final = 3
"""Maximum number of events shown at once."""
REASONS: Final = 2
"""Number of text lines for the decisions on this frame."""
RECENT: Final = 1.0
"""Seconds for which an object stays marked after its event and the event is shown as new."""
QUIET: Final = (170, 170, 170)
BUSY: Final = (60, 200, 255)
MOVED: Final = (255, 120, 255)


class ScenePicture:
    """Draws the frames of one recording; remembers the last events."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._plan = plan
        self._told: list[tuple[float, Event]] = []

    def __call__(
        self,
        frame: Frame,
        findings: Findings | Answers,
        events: Sequence[Event],
        reasons: Sequence[str],
        glance: Glance | None = None,
    ) -> Pixels:
        """Return a new picture (blue, green, red); ``reasons`` are the decisions on this frame.

        If the reasons do not fit, the last reasons are not drawn. With ``glance``, areas that have changed are
        outlined.
        """
        self._told = [*self._told, *((frame.wall, event) for event in events)][-EVENTS:]
        marked = {event.id for moment, event in self._told if frame.wall - moment < RECENT}
        picture, factor = enlarged(_bgr(frame))
        canvas = Canvas(picture)
        if glance is not None:
            _motion(canvas, factor, glance)
        if isinstance(findings, Followed):
            self._places(canvas, findings)
        draw(canvas, factor, findings, {number for number in marked if isinstance(number, int)})
        strip = self._strip(
            canvas, frame.wall, _counted(findings) + (choice(glance) if glance is not None else ""), reasons
        )
        return np.concatenate((picture, strip))

    def _places(self, canvas: Canvas, findings: Followed) -> None:
        size = np.array((canvas.width - 1, canvas.height - 1))
        inside = {name: sum(count for _, count in counts) for name, counts in findings.zones}
        for zone in self._plan.zones:
            corners = np.array(zone.polygon) * size
            count = inside.get(zone.name, 0)
            canvas.area(corners, BUSY if count else QUIET, filled=count > 0)
            self._name(canvas, f"{zone.name}: {count}", corners, BUSY if count else QUIET)
        passed = {name: (left, right) for name, left, right in findings.lines}
        for line in self._plan.lines:
            ends = np.rint(np.array((line.start, line.end)) * size).astype(int)
            (start, end), (left, right) = ends.tolist(), passed.get(line.name, (0, 0))
            canvas.arrow((start[0], start[1]), (end[0], end[1]), BUSY)
            self._name(canvas, f"{line.name}: left {left}, right {right}", ends.astype(np.float64), BUSY)

    def _name(self, canvas: Canvas, text: str, corners: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
              color: Color) -> None:  # fmt: skip
        """Write a label near the first corner where it covers no other label.

        Lower corners come first, because objects have their labels above them.
        """
        width, height = canvas.size(text)
        places = [
            (round(x) + left, round(y) + top)
            for x, y in sorted(corners.tolist(), key=lambda corner: -corner[1])
            for top in (-height - 4, 4)
            for left in (6, -width - 6)
        ]
        canvas.name(text, places, color)

    def _strip(self, above: Canvas, moment: float, counted: str, reasons: Sequence[str]) -> Pixels:
        """Draw time and counts, the last events, and the decisions."""
        rows: list[tuple[str, Color]] = [(f"{moment:.1f} s   {counted}", WHITE)]
        told = [(sentence(event), BUSY if moment - at < RECENT else QUIET) for at, event in self._told]
        rows += [*told, *[("", QUIET)] * (EVENTS - len(told))]
        rows += [(text, WHITE) for text in above.wrapped("; ".join(reasons), REASONS)]
        height = above.row * (1 + EVENTS + REASONS) + above.row // 2
        strip = np.full((height, above.width, 3), DARK, np.uint8)
        canvas = above.like(strip)
        cv2.line(strip, (0, above.row * (1 + EVENTS)), (above.width, above.row * (1 + EVENTS)), (70, 70, 70))
        for row, (text, ink) in enumerate(rows):
            canvas.write(text, 3, 3 + row * above.row, ink)
        return strip


def choice(glance: Glance) -> str:
    """Return a text with the share of the picture that has changed, and whether the model ran."""
    tiles = f" at {len(glance.chosen)} of {glance.parts} tiles" if glance.parts > 1 else ""
    looked = f"looked{tiles}" if glance.chosen else "did not look"
    return f"  {glance.change.share:.2%} changed, {looked}"


def sentence(event: Event) -> str:
    """Return a short description of an event."""
    words = [event.ts[14:23], event.type]
    words += [str(part) for part in (event.label,) if isinstance(part, str)]
    words += [f"#{event.id}"] if isinstance(event.id, int) else []
    words += [str(part) for part in (event.zone, event.line, event.direction) if isinstance(part, str)]
    return " ".join([*words, f"({event.reason})"] if isinstance(event.reason, str) else words)


def _motion(canvas: Canvas, factor: int, glance: Glance) -> None:
    """Outline the changed areas, and the tiles on which the model runs."""
    cells = cv2.resize(glance.change.cells, (canvas.width, canvas.height), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas.picture, outlines, -1, MOVED, 1)
    for region in glance.chosen:
        if region is not None:
            corner = region.left + region.width - 1, region.top + region.height - 1
            start, end = (region.left * factor, region.top * factor), (corner[0] * factor, corner[1] * factor)
            cv2.rectangle(canvas.picture, start, end, MOVED, 1)


def _counted(findings: Findings | Answers) -> str:
    counts = findings.counts if isinstance(findings, Followed) else ()
    return ", ".join(f"{label} {count}" for label, count in counts)


def _bgr(frame: Frame) -> Pixels:
    if frame.color == "bgr":
        return frame.pixels
    code = cv2.COLOR_RGB2BGR if frame.color == "rgb" else cv2.COLOR_GRAY2BGR
    return np.asarray(cv2.cvtColor(frame.pixels, code), np.uint8)
