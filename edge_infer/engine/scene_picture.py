"""A frame with what is known of its scene drawn in: boxes and ids, zones and lines, and below it what was told."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.annotate import FONT, annotate
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.frame import Frame, Pixels
from edge_infer.engine.gate import Glance
from edge_infer.engine.tasks import Findings
from edge_infer.messages import Event

LINES: Final = 3
"""Events that are shown at once."""
QUIET: Final = (150, 150, 150)
BUSY: Final = (60, 200, 255)
MOVED: Final = (255, 120, 255)


class ScenePicture:
    """Draws the frames of one recording; remembers the last events."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._plan = plan
        self._told: list[str] = []

    def __call__(
        self, frame: Frame, findings: Findings | Answers, events: list[Event], glance: Glance | None = None
    ) -> Pixels:
        """A new picture (blue, green, red); with ``glance`` what has moved is drawn around."""
        self._told = [*self._told, *map(sentence, events)][-LINES:]
        pixels = frame.pixels
        if frame.color != "bgr":
            code = cv2.COLOR_RGB2BGR if frame.color == "rgb" else cv2.COLOR_GRAY2BGR
            pixels = np.asarray(cv2.cvtColor(pixels, code), np.uint8)
        canvas = pixels.copy()
        if glance is not None:
            self._motion(canvas, glance)
        if isinstance(findings, Followed):
            self._places(canvas, findings)
        picture = annotate(canvas, findings)
        first = f"{frame.wall:.1f} s{choice(glance) if glance is not None else ''}"
        return np.concatenate((picture, self._strip(picture.shape[1], first)))

    def _motion(self, canvas: Pixels, glance: Glance) -> None:
        """What has changed, and the tiles that are looked at."""
        size = canvas.shape[1], canvas.shape[0]
        cells = cv2.resize(glance.change.cells, size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, outlines, -1, MOVED, 1)
        for region in glance.chosen:
            if region is not None:
                corner = region.left + region.width - 1, region.top + region.height - 1
                cv2.rectangle(canvas, (region.left, region.top), corner, MOVED, 1)

    def _places(self, canvas: Pixels, findings: Followed) -> None:
        size = np.array((canvas.shape[1], canvas.shape[0]))
        inside = {name: sum(count for _, count in counts) for name, counts in findings.zones}
        for zone in self._plan.zones:
            corners = np.rint(np.array(zone.polygon) * (size - 1)).astype(np.int32)
            color = BUSY if inside.get(zone.name) else QUIET
            cv2.polylines(canvas, [corners], True, color, 2, cv2.LINE_AA)
            left, top = corners.min(axis=0).tolist()
            self._name(canvas, f"{zone.name} {inside.get(zone.name, 0)}", (left + 6, top + 18), color)
        passed = {name: (left, right) for name, left, right in findings.lines}
        for line in self._plan.lines:
            start, end = (
                tuple(np.rint(np.array(point) * (size - 1)).astype(int).tolist()) for point in (line.start, line.end)
            )
            cv2.arrowedLine(canvas, start, end, BUSY, 2, cv2.LINE_AA, tipLength=0.05)
            left_count, right_count = passed.get(line.name, (0, 0))
            place = (start[0] + 6, min(max(18, start[1] + 18), canvas.shape[0] - 6))
            self._name(canvas, f"{line.name} left {left_count} right {right_count}", place, BUSY)

    def _name(self, canvas: Pixels, text: str, place: tuple[int, int], color: tuple[int, int, int]) -> None:
        (width, height), below = cv2.getTextSize(text, FONT, 0.5, 1)
        corner, opposite = (place[0] - 3, place[1] - height - 3), (place[0] + width + 3, place[1] + below + 1)
        cv2.rectangle(canvas, corner, opposite, (0, 0, 0), cv2.FILLED)
        cv2.putText(canvas, text, place, FONT, 0.5, color, 1, cv2.LINE_AA)

    def _strip(self, width: int, first: str) -> Pixels:
        strip = np.zeros((20 * (LINES + 1) + 4, width, 3), np.uint8)
        for row, text in enumerate([first, *self._told]):
            cv2.putText(strip, text, (6, 16 + 20 * row), FONT, 0.45, QUIET if row == 0 else BUSY, 1, cv2.LINE_AA)
        return strip


def choice(glance: Glance) -> str:
    """How much has changed, and whether the model looked."""
    tiles = f" at {len(glance.chosen)} of {glance.parts} tiles" if glance.parts > 1 else ""
    looked = f"looked{tiles}" if glance.chosen else "did not look"
    return f"  {glance.change.share:.2%} changed, {looked}"


def sentence(event: Event) -> str:
    """An event in a few words."""
    words = [event.ts[14:23], event.type]
    words += [str(part) for part in (event.label,) if isinstance(part, str)]
    words += [f"#{event.id}"] if isinstance(event.id, int) else []
    words += [str(part) for part in (event.zone, event.line, event.direction) if isinstance(part, str)]
    return " ".join([*words, f"({event.reason})"] if isinstance(event.reason, str) else words)
