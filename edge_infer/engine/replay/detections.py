"""Detections from a file in place of a model: boxes in the format of MOTChallenge, one per line."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.filtering import LabelFilter
from edge_infer.engine.tracking.track import ObjectTrack
from edge_infer.errors import InputError
from edge_infer.frames.geometry import Box
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.paths import open_regular

FORMAT: Final = "frame,id,x,y,w,h,score[,class]"
MAX_FRAME: Final = 10_000_000
"""Highest frame number: four days at 25 frames per second. A higher number is a mistake, and each frame takes time."""
MAX_LINE_BYTES: Final = 4096
CLASS_FIELDS: Final = (8, 9)
"""Numbers of fields in a line with a class. In a line with ten, as in MOTChallenge 2015, the last three are a position
in the world."""
UNKNOWN: Final = -1.0
"""Value of an unknown score or class in MOTChallenge files."""


class Row(NamedTuple):
    """One line of the file; the box is in pixels."""

    frame: float
    x: float
    y: float
    width: float
    height: float
    score: float
    class_id: float


@dataclass(frozen=True, slots=True)
class RecordedBoxes:
    """The boxes of a file by frame, and a note for each kind of skipped line."""

    rows: NDArray[np.float64]
    """``[n, 7]``: the fields of `Row`, sorted by frame."""
    size: tuple[int, int]
    notes: tuple[str, ...]

    def frames(self, plan: PipelinePlan) -> Iterator[tuple[int, Detections]]:
        """Yield every frame from 1 to the last one with its detections, as if a model had found the boxes.

        A frame may have no detections.
        """
        named = LabelFilter(plan)
        last = int(self.rows[-1, 0]) if len(self.rows) else 0
        ends = np.searchsorted(self.rows[:, 0], np.arange(1, last + 1), side="right")
        start = 0
        for number, end in enumerate(ends, 1):
            yield number, self._found(self.rows[start:end], named, plan)
            start = end

    def _found(self, rows: NDArray[np.float64], named: LabelFilter, plan: PipelinePlan) -> Detections:
        classes, scores = rows[:, 6].astype(np.int64), rows[:, 5]
        kept = np.flatnonzero((scores >= plan.floor) & named.wanted(classes))
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        objects = []
        for row in kept.tolist():
            _, x, y, width, height, score, class_id = rows[row].tolist()
            number = int(class_id)
            objects.append(Detection(named.label(number), number, score, (x, y, x + width, y + height)))
        return Detections(tuple(objects), self.size, named.left_out(classes, scores, plan.threshold))


def read_boxes(path: Path, size: tuple[int, int], plan: PipelinePlan) -> RecordedBoxes:
    """Read a file of detections for pictures of ``size`` pixels.

    Boxes that cannot come from a detector are skipped and counted: without area, not finite, outside the picture, or
    listed twice. A line that does not fit the format is an error. Raises `InputError`.
    """
    try:
        stream = open_regular(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if stream is None:
        raise InputError(f"{path} is not a file; name a file with lines of {FORMAT}")
    reader = _Reader(path, size, plan.model.labels, _default_class(plan))
    with stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            reader.add(number, line.decode("utf-8", "replace"))
    return reader.sorted()


def _default_class(plan: PipelinePlan) -> int:
    """Return the class of a box without a class: that of the first label that the pipeline reports."""
    wanted = plan.labels or plan.model.labels
    return plan.model.labels.index(wanted[0]) if wanted and wanted[0] in plan.model.labels else 0


@dataclass(slots=True)
class _Reader:
    path: Path
    size: tuple[int, int]
    labels: tuple[str, ...]
    default_class: int
    _values: array[float] = field(default_factory=lambda: array("d"))
    _left_out: Counter[str] = field(default_factory=Counter)
    _first: dict[str, int] = field(default_factory=dict)

    def add(self, number: int, line: str) -> None:
        """Add a line; blank lines, comments and a byte order mark are ignored."""
        text = (line.removeprefix("\ufeff") if number == 1 else line).strip()
        if not text or text.startswith("#"):
            return
        row = self._row(number, text)
        fault = self._fault(row)
        if fault:
            self._leave_out(fault, number)
        else:
            self._values.extend(row)

    def sorted(self) -> RecordedBoxes:
        """Return the boxes by frame; boxes of one frame keep their order."""
        rows = np.frombuffer(self._values, np.float64).reshape(-1, len(Row._fields))
        _, first = np.unique(rows, axis=0, return_index=True)
        if len(first) < len(rows):
            self._left_out["the same as a line before"] = len(rows) - len(first)
        rows = rows[np.sort(first)]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        return RecordedBoxes(rows, self.size, tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        for fault, count in self._left_out.items():
            since = f", the first in line {self._first[fault]}" if fault in self._first else ""
            yield f"{self.path}: {count} {'box' if count == 1 else 'boxes'} left out{since}: {fault}"

    def _leave_out(self, fault: str, number: int) -> None:
        self._left_out[fault] += 1
        self._first.setdefault(fault, number)

    def _row(self, number: int, text: str) -> Row:
        fields = [item.strip() for item in text.split(",")]
        if len(fields) < len(Row._fields) - 1:
            raise self._error(number, f"{len(fields)} fields; a box is {FORMAT}, separated by commas")
        try:
            frame, x, y, width, height = (float(fields[place]) for place in (0, 2, 3, 4, 5))
            score = float(fields[6]) if len(fields) > 6 and fields[6] else UNKNOWN
        except ValueError as error:
            raise self._error(number, f"{error}; a box is {FORMAT}, numbers separated by commas") from error
        if not 1 <= frame <= MAX_FRAME or frame != int(frame):
            raise self._error(number, f"frame {fields[0]} is not a whole number from 1 to {MAX_FRAME:,}")
        if score == UNKNOWN:
            score = 1.0
        elif score < 0.0 or score > 1.0:
            raise self._error(
                number, f"score {fields[6]} is not between 0 and 1: scale the scores, or write -1 for none"
            )
        return Row(
            frame, x, y, width, height, score, self._class(number, fields[7] if len(fields) in CLASS_FIELDS else "")
        )

    def _class(self, number: int, text: str) -> float:
        if text in self.labels:
            return float(self.labels.index(text))
        try:
            value = float(text or UNKNOWN)
        except ValueError:
            value = math.nan
        if value == UNKNOWN:
            return float(self.default_class)
        most = len(self.labels) - 1 if self.labels else MAX_FRAME
        if not 0 <= value <= most or value != int(value):
            known = f"a number from 0 to {most}, or one of {', '.join(self.labels[:5])}" if self.labels else "a number"
            raise self._error(number, f"class {text} is unknown: expected {known}; or -1, or no class")
        return value

    def _fault(self, row: Row) -> str | None:
        if not all(map(math.isfinite, row)):
            return "not finite"
        if row.width <= 0.0 or row.height <= 0.0:
            return "the box has no width or no height"
        width, height = self.size
        if row.x >= width or row.y >= height or row.x + row.width <= 0.0 or row.y + row.height <= 0.0:
            return f"the box is outside a picture of {width}x{height}"
        return None

    def _error(self, number: int, text: str) -> InputError:
        return InputError(f"{self.path}:{number}: {text}")


@dataclass(slots=True)
class MotFile:
    """Collects the ids of a replay and writes them in MOTChallenge's format.

    An object gets its id only after some frames. This class also adds the id to the object's boxes in the earlier
    frames.
    """

    _boxes: list[tuple[int, Box, float, int, ObjectTrack]] = field(default_factory=list)

    def add(self, number: int, followed: Followed) -> None:
        """Add the boxes of a frame."""
        for found, track in zip(followed.detections.objects, followed.tracks, strict=True):
            if track is not None:
                self._boxes.append((number, found.box, found.score, found.class_id, track))

    def write(self, path: Path) -> None:
        """Write the boxes that have an id. Raises `InputError`."""
        try:
            with path.open("w", encoding="ascii") as file:
                for number, (xmin, ymin, xmax, ymax), score, class_id, track in self._boxes:
                    if track.number:
                        place = f"{xmin:.2f},{ymin:.2f},{xmax - xmin:.2f},{ymax - ymin:.2f}"
                        file.write(f"{number},{track.number},{place},{score:.4f},{class_id}\n")
        except OSError as error:
            raise InputError(f"--mot {path}: {error.strerror or error}") from error
