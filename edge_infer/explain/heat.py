"""Draws explanations: heat over the input, the box of the answer, and the sentence below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.replay.drawing import DARK, WHITE, Canvas, enlarged
from edge_infer.explain.explanation import Explanation
from edge_infer.explain.pictures import Lines, PictureCells, blending
from edge_infer.explain.sampling import Cells
from edge_infer.explain.signals import RowCells, SoundCells
from edge_infer.explain.words import WordCells
from edge_infer.frames.frame import Pixels

HOT: Final = np.array((0, 80, 255), np.float32)
COLD: Final = np.array((255, 140, 0), np.float32)
"""Colours (blue, green, red) of evidence for the answer and against it."""
STRONGEST: Final = 0.75
"""Share of the colour where the evidence is strongest."""
SIGNAL_SIZE: Final = (960, 480)
"""Width and height of the picture of a recording."""
WORDS_SIZE: Final = (960, 120)
LINES: Final = 4
"""Maximum number of lines of the sentence below the picture."""
GRAY: Final = (215, 215, 215)


def drawn(explained: Sequence[Explanation]) -> Pixels:
    """Return one picture (blue, green, red) of the explanations of an input, one below the other."""
    pictures = [_captioned(_one(each), each.text) for each in explained]
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([_widened(picture, width) for picture in pictures])


def _one(explained: Explanation) -> Pixels:
    cut, evidence = explained.cut, explained.sampled.evidence
    if isinstance(cut, PictureCells):
        return _picture(cut, explained)
    if isinstance(cut, SoundCells):
        return _sound(cut, evidence)
    if isinstance(cut, RowCells):
        return _rows(cut, evidence)
    assert isinstance(cut, WordCells)
    return _words(cut, evidence)


def _picture(cut: PictureCells, explained: Explanation) -> Pixels:
    picture, factor = enlarged(cut.whole.pixels)
    height, width = picture.shape[:2]
    columns, rows = cut.lines()
    density = explained.sampled.evidence.reshape(cut.shape) / np.outer(np.diff(rows), np.diff(columns))
    across, down = (_spread(lines, side) for lines, side in ((columns, width), (rows, height)))
    picture = _tinted(picture, (down @ density.astype(np.float32)) @ across.T)
    canvas = Canvas(picture)
    if cut.box is not None:
        (xmin, ymin, xmax, ymax), (wide, high) = cut.box, cut.whole.size
        place = (xmin * wide, ymin * high, xmax * wide, ymax * high)
        canvas.outline(place, factor, WHITE, marked=True)
        canvas.outline(place, factor, DARK)
        told = "" if explained.inside is None else f" {explained.inside:.0%} inside"
        canvas.name_of(place, factor, f"{explained.answer.label} {explained.answer.score:.2f}{told}", WHITE)
    return canvas.picture


def _spread(lines: Lines, pixels: int) -> NDArray[np.float32]:
    """Return the share of each cell in each pixel; 0 outside the part that the model uses."""
    inner = (lines - lines[0]) / (lines[-1] - lines[0])
    low, high = round(float(lines[0]) * pixels), round(float(lines[-1]) * pixels)
    found = np.zeros((pixels, len(lines) - 1), np.float32)
    found[low:high] = blending(inner, high - low)
    return found


def _tinted(picture: Pixels, evidence: NDArray[np.float32]) -> Pixels:
    """Return the picture in gray, with evidence as colour."""
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.float32)
    most = float(np.abs(evidence).max()) or 1.0
    strength = (STRONGEST * np.sqrt(np.abs(evidence) / most))[..., None]
    color = np.where(evidence[..., None] > 0, HOT, COLD)
    return np.asarray(np.rint(gray + (color - gray) * strength), np.uint8)


def _sound(cut: SoundCells, evidence: Cells) -> Pixels:
    """Draw the spectrum, time to the right and frequency upwards, mel bands equally high."""
    width, height = SIGNAL_SIZE
    levels = cut.loudness()
    levels = np.clip((levels - levels.max()) / 80 + 1, 0, 1)
    hertz = np.interp(np.linspace(0, len(cut.bands) - 1, height), np.arange(len(cut.bands)), cut.bands)
    columns = (hertz / cut.bands[-1] * (levels.shape[1] - 1)).round().astype(int)
    gray = cv2.resize(levels[:, columns].T.astype(np.float32), (width, height))
    cells = _blocks(evidence, cut.shape)
    picture = _tinted(cv2.cvtColor((gray * 200).astype(np.uint8), cv2.COLOR_GRAY2BGR), cells)[::-1].copy()
    canvas = Canvas(picture)
    _seconds(canvas, cut.times, "s")
    for number, limit in enumerate(cut.bands[1:-1], 1):
        canvas.text(f"{limit:.0f} Hz", 0, height - number * height // (len(cut.bands) - 1) - 8, DARK)
    return canvas.picture


def _rows(cut: RowCells, evidence: Cells) -> Pixels:
    """Draw each group of axes as a strip: its lines, over the evidence."""
    width, height = SIGNAL_SIZE
    cells = _blocks(evidence, cut.shape)
    picture = _tinted(np.full((height, width, 3), 235, np.uint8), cells)
    canvas = Canvas(picture)
    groups, spread = cut.shape[1], float(np.ptp(cut.rows)) or 1.0
    for axis, values in enumerate(cut.rows.T):
        group = int(np.searchsorted(cut.axes, axis, side="right")) - 1
        level = 1 - (values - cut.rows.min()) / spread
        x = (np.arange(len(values)) + 0.5) / len(values) * width
        y = (group + 0.1 + 0.8 * level) * height / groups
        cv2.polylines(picture, [np.rint(np.stack((x, y), axis=1)).astype(np.int32)], False, DARK, 1, cv2.LINE_AA)
    _seconds(canvas, cut.times, cut.unit)
    return canvas.picture


def _blocks(evidence: Cells, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the evidence ``[times, heights]`` in the size of the picture, time to the right."""
    found = evidence.reshape(shape).T.astype(np.float32)
    return np.asarray(cv2.resize(found, SIGNAL_SIZE, interpolation=cv2.INTER_NEAREST), np.float32)


def _seconds(canvas: Canvas, times: Lines, unit: str) -> None:
    for share in (0.0, 0.25, 0.5, 0.75):
        text = f"{times[0] + share * (times[-1] - times[0]):.3g} {unit}"
        canvas.text(text, round(share * canvas.width), canvas.height - canvas.size(text)[1], DARK)


def _words(cut: WordCells, evidence: Cells) -> Pixels:
    """Draw each word on a background in the colour of its evidence."""
    width, height = WORDS_SIZE
    canvas = Canvas(np.full((height, width, 3), 255, np.uint8))
    most = float(np.abs(evidence).max()) or 1.0
    left, top, placed = 0, 0, []
    for word, value in zip(cut.words, evidence.tolist(), strict=True):
        wide = canvas.size(word)[0]
        if left and left + wide > width:
            left, top = 0, top + canvas.row
        placed.append((word, left, top, value / most))
        left += wide
    larger = canvas.like(np.full((top + 2 * canvas.row, width, 3), 255, np.uint8))
    for word, left, top, strength in placed:
        color = np.rint(255 + ((HOT if strength > 0 else COLD) - 255) * abs(strength) * STRONGEST)
        blue, green, red = (int(part) for part in color)
        larger.text(word, left, top, (blue, green, red))
    return larger.picture


def _captioned(picture: Pixels, text: str) -> Pixels:
    canvas = Canvas(picture)
    lines = canvas.wrapped(text, LINES)
    below = canvas.like(np.full((len(lines) * canvas.row, canvas.width, 3), DARK, np.uint8))
    for number, line in enumerate(lines):
        below.write(line, 0, number * canvas.row, GRAY)
    return np.concatenate((picture, below.picture))


def _widened(picture: Pixels, width: int) -> Pixels:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)))
