"""Pictures as cells: a grid aligned with the answer's box, fine inside the box and coarser away from it.

Lines on the edges of the box keep evidence from beside the box out of the cells inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.scale import scaler
from edge_infer.explain.answers import Box, ExplainedAnswer
from edge_infer.explain.sampling import Cells, Visible
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Region, Transform
from edge_infer.plan.records import InputPlan, ModelPlan

Lines: TypeAlias = NDArray[np.float64]
"""Positions of grid lines, rising from 0 to 1."""
Weights: TypeAlias = NDArray[np.float32]

INSIDE: Final = 4
"""Number of cells across a box, unless they would be smaller than `SMALLEST`."""
ACROSS: Final = 8
"""Number of cells along the longer side of a picture, as scaled for the model, if the answer has no box."""
SMALLEST: Final = 4
"""Minimum width of a cell, in pixels of the model's input."""
GROWTH: Final = 1.5
"""Ratio of the width of a cell beside the box to that of its neighbour towards the box."""
SLIVER: Final = 0.15
"""Share of a cell below which the strip between the box and the border belongs to the cells inside the box."""
SOFT: Final = 0.2
"""Width of the transition between a visible and a hidden cell, as a share of the narrower cell.

A model could take a hard edge for a part of an object.
"""
BORDER: Final = 0.1
"""Share of the picture along each side that is its border."""
FILLS: Final = 3
"""Number of fillings of hidden cells: black, as in (D-)RISE; white if black changes nothing; then the mean colour."""


def shrunk(frame: Frame, fit: Transform, model: ModelPlan) -> tuple[Frame, Region]:
    """Return the part of a frame that the model uses, scaled to the model's input, and the region of that part.

    The model's tensor is the same as for the whole frame, and preparing it takes less time. A model with tiles, or with
    several inputs that take the frame, gets the frame unchanged.
    """
    assert isinstance(model.input, InputPlan)
    if model.input.tiles != (1, 1) or any(each.plan is not None for each in model.further):
        return frame, Region(0, 0, *frame.size)
    size = (fit.width, fit.height)
    small = np.empty((size[1], size[0], *frame.pixels.shape[2:]), np.uint8)
    scale = scaler(model.input.scaling, fit.region.size, size, small.shape[2] if small.ndim == 3 else 1)
    scale(fit.region.of(frame.pixels), small)
    return replace(frame, pixels=small), fit.region


class PictureCells:
    """A picture with cells that can be hidden; a `Question` about one answer of a model."""

    fills = FILLS

    def __init__(self, model: LoadedModel, frame: Frame, answer: ExplainedAnswer, whole: Frame, region: Region) -> None:
        """``frame`` and ``region`` come from `shrunk`: ``frame`` shows only the ``region`` of the ``whole`` picture.

        The ``answer`` is the model's answer for ``frame``.
        """
        self._model, self.frame, self._answer = model, frame, answer
        self.whole, self.region = whole, region
        width, height = frame.size
        if answer.box is not None:
            xmin, ymin, xmax, ymax = answer.box
            self.columns, self.rows = lines_around(xmin, xmax, width), lines_around(ymin, ymax, height)
        else:
            longer = max(width, height)
            self.columns, self.rows = (even_lines(ACROSS * side / longer, side) for side in (width, height))
        self.shape = (len(self.rows) - 1, len(self.columns) - 1)
        self.cells = self.shape[0] * self.shape[1]
        depth = frame.pixels.shape[2] if frame.pixels.ndim == 3 else 1
        self._down = blending(self.rows, height)
        self._across = np.repeat(blending(self.columns, width), depth, axis=0).T.copy()
        flat = frame.pixels.reshape(height, -1)
        mean = frame.pixels.reshape(-1, depth).mean(axis=0)
        self._fills = (np.zeros(depth), np.full(depth, 255.0), mean)
        self._flat = flat
        self._buffers: tuple[int, Weights, Weights] | None = None
        self._masked = np.empty(flat.shape, np.uint8)

    def __call__(self, visible: Visible, fill: int) -> float:
        """Return the answer's strength with only these cells visible."""
        return self._answer.strength(self._model.look(self.masked(visible, fill)))

    def masked(self, visible: Visible, fill: int) -> Frame:
        """Return the picture with only these cells visible. The next call overwrites the returned picture."""
        base, above = self._base(fill)
        mask = (self._down @ visible.reshape(self.shape).astype(np.float32)) @ self._across
        np.multiply(mask, above, out=mask)
        np.add(mask, base, out=mask)
        np.rint(mask, out=mask)
        self._masked[...] = mask
        return replace(self.frame, pixels=self._masked.reshape(self.frame.pixels.shape))

    def inside(self) -> Cells | None:
        """Return the share of each cell that lies in the answer's box; None if the answer has no box."""
        if self._answer.box is None:
            return None
        xmin, ymin, xmax, ymax = self._answer.box
        return np.outer(_overlap(self.rows, ymin, ymax), _overlap(self.columns, xmin, xmax)).reshape(-1)

    def names(self) -> tuple[list[str]]:
        """Return the place of each cell in words: a border of the picture, beside the box, or a part of the picture."""
        middles = [((lines[1:] + lines[:-1]) / 2).tolist() for lines in (self.columns, self.rows)]
        box = self._answer.box
        return ([_part(x, y) if box is None else _beside(x, y, box) for y in middles[1] for x in middles[0]],)

    def grid(self, evidence: Cells) -> Mapping[str, Any]:
        """Return the evidence with the grid lines in fractions of the whole picture."""
        columns, rows = self.lines()
        return {"x": columns, "y": rows, "values": evidence.reshape(self.shape)}

    @property
    def box(self) -> Box | None:
        """The box of the answer in fractions of the whole picture."""
        if self._answer.box is None:
            return None
        (width, height), region = self.whole.size, self.region
        xmin, ymin, xmax, ymax = self._answer.box
        xs = [(region.left + x * region.width) / width for x in (xmin, xmax)]
        ys = [(region.top + y * region.height) / height for y in (ymin, ymax)]
        return xs[0], ys[0], xs[1], ys[1]

    def lines(self) -> tuple[Lines, Lines]:
        """Return the vertical and the horizontal grid lines in fractions of the whole picture."""
        (width, height), region = self.whole.size, self.region
        columns = (region.left + self.columns * region.width) / width
        return columns, (region.top + self.rows * region.height) / height

    def _base(self, fill: int) -> tuple[Weights, Weights]:
        """Return the filling of hidden cells, and the difference of the picture from the filling."""
        if self._buffers is None or self._buffers[0] != fill:
            base = np.tile(self._fills[fill].astype(np.float32), self.frame.size[0])
            self._buffers = (fill, base, self._flat - base)
        return self._buffers[1:]


def lines_around(low: float, high: float, pixels: int) -> Lines:
    """Return grid lines with equal cells from ``low`` to ``high`` and growing cells from there to 0 and 1."""
    low, high = max(0.0, low), min(1.0, high)
    least = SMALLEST / pixels
    if high - low < least:  # a box narrower than a cell gets one cell around its middle
        low = min(max(0.0, (low + high - least) / 2), 1.0 - least)
        high = low + least
    count = int(np.clip((high - low) / least, 1, INSIDE))
    step = (high - low) / count
    before, after = _growing(low, step), _growing(1.0 - high, step)
    inner = np.linspace(low if before else 0.0, high if after else 1.0, count + 1)
    left = [low - each for each in reversed(before)]
    return np.array([*left, *inner, *(high + each for each in after)]).clip(0.0, 1.0)


def _growing(room: float, step: float) -> list[float]:
    """Return the distances of the grid lines beside a box; empty if ``room`` is less than `SLIVER` of a cell.

    The last distance is ``room``, which reaches to the border of the picture.
    """
    if room < SLIVER * step:
        return []
    border = BORDER if room > 2 * BORDER else 0.0
    found, at, wide = list[float](), 0.0, step
    while room - border - at > wide / 2:
        at += wide
        found.append(at)
        wide *= GROWTH
    return [*found[:-1], room - border, room] if border else [*found[:-1], room]


def even_lines(count: float, pixels: int) -> Lines:
    """Return the lines of equal cells, about ``count`` of them, none narrower than `SMALLEST`."""
    most = max(1, pixels // SMALLEST)
    return np.linspace(0.0, 1.0, int(np.clip(round(count), min(4, most), most)) + 1)


def blending(lines: Lines, pixels: int) -> Weights:
    """Return the share of each cell in each pixel, ``[pixels, cells]``: 1 inside it, less near its edges."""
    places = (np.arange(pixels) + 0.5) / pixels
    widths = np.diff(lines)
    found = np.zeros((pixels, len(widths)), np.float32)
    rising = np.ones((len(widths) + 1, pixels))
    rising[-1] = 0.0
    for number in range(1, len(widths)):
        soft = SOFT * min(widths[number - 1], widths[number])
        rising[number] = np.clip((places - lines[number]) / soft + 0.5, 0.0, 1.0)
    for number in range(len(widths)):
        found[:, number] = rising[number] - rising[number + 1]
    return found


def _overlap(lines: Lines, low: float, high: float) -> Lines:
    """Return the share of each cell that lies between ``low`` and ``high``."""
    common = np.minimum(lines[1:], high) - np.maximum(lines[:-1], low)
    return np.asarray(np.clip(common, 0.0, None) / np.diff(lines), np.float64)


def _beside(x: float, y: float, box: Box) -> str:
    """Return the place of a point outside a box, in words; empty for a point inside."""
    away = {
        "left": box[0] - x, "right": x - box[2], "top": box[1] - y, "bottom": y - box[3],
    }  # fmt: skip
    side = max(away, key=lambda name: away[name])
    if away[side] <= 0:
        return ""
    edge = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[side]
    words = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}[side]
    return f"on the {side} border" if edge <= BORDER else f"{words} the box"


def _part(x: float, y: float) -> str:
    """Return the ninth of the picture in which a point lies, in words."""
    across, down = ("left", "middle", "right")[min(2, int(x * 3))], ("upper", "middle", "lower")[min(2, int(y * 3))]
    words = [word for word in (down, across) if word != "middle"] or ["middle"]
    return f"in the {' '.join(words)} part of the picture"
