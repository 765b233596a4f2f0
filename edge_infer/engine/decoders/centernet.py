"""CenterNet: every object is a peak of a heatmap.

The model has three outputs on one grid: the heatmap ``[1, rows, columns, classes]`` (scores or logits, see `Scores`),
sizes ``[1, rows, columns, 2]`` in cells, and offsets of the same shape, which move the peak within its cell. A peak is
a cell that none of its eight neighbours exceeds. ``centre = (cell + offset) / cells``. The output names distinguish
offsets (``offset`` or ``reg``) from sizes (``size``, ``scale`` or ``wh``); the manifest may define them: ``decoder:
{kind: centernet, sizes: NAME, offsets: NAME}``. The first number of a pair belongs to x. TensorFlow's detection models
have the opposite order, which the manifest defines with ``order: yx``.

Source: "Objects as Points" (arXiv:1904.07850).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import corners, sound_boxes
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.decoders.scores import Scores
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

OFFSETS: Final = ("offset", "reg")
SIZES: Final = ("size", "scale", "wh")
NEIGHBOURS: Final = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0))
REMEDY: Final = "in the manifest: `decoder: {kind: centernet, sizes: NAME, offsets: NAME}`"


class CenterNet:
    """Decoder with a candidate for each peak above the threshold."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox")
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("sizes", "offsets", "order", "activation")

    def __init__(self, layout: Layout) -> None:
        """Match the outputs with their roles; raise `ModelError` unless there are three outputs with known roles."""
        options = Options(layout)
        self._outputs = layout.outputs
        self._heatmap, self._sizes, self._offsets = _roles(layout.outputs, options)
        self._threshold = layout.threshold
        self._scores = Scores.of(layout.outputs[self._heatmap], options)
        self._swapped = options.choice("order", ("xy", "yx")) == "yx"
        self._rows, self._columns, self.classes = layout.outputs[self._heatmap].shape[1:]

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per cell and class."""
        heatmap = tensors[self._heatmap][0]
        reading = self._scores.seen(heatmap)
        rows, columns, classes = _peaks(heatmap, reading.limit(self._threshold))
        sizes = self._pairs(self._sizes, tensors, rows, columns)
        offsets = self._pairs(self._offsets, tensors, rows, columns)
        with np.errstate(over="ignore", invalid="ignore"):
            boxes = np.concatenate((np.stack((columns, rows)) + offsets, sizes)).astype(np.float32)
        boxes /= np.array((self._columns, self._rows) * 2, np.float32).reshape(4, 1)
        return sound_boxes(corners(boxes), reading.real(heatmap[rows, columns, classes]), classes)

    def _pairs(
        self, index: int, tensors: Sequence[NDArray[Any]], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> Array:
        """Return the real numbers for x and y, ``[2, n]``, of one output at the given cells."""
        found = self._outputs[index].dequantize(tensors[index][0, rows, columns]).T
        return found[::-1] if self._swapped else found

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a heatmap and two pairs of numbers per cell, with names that define their roles."""
        if image_size(inputs) == (0, 0):
            return None
        try:
            found = _roles(outputs, None)
        except ModelError:
            return None
        rows, columns, classes = outputs[found[0]].shape[1:]
        return f"a heatmap of {classes} classes, sizes and offsets on a grid of {columns} x {rows} cells"


def _peaks(heatmap: NDArray[Any], limit: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return rows, columns and classes of the peaks not below ``limit``.

    ``heatmap`` holds stored values, ``[rows, columns, classes]``.

    Only cells that reach the limit are compared with their neighbours. The nearest cell at the edge replaces a
    neighbour outside the grid.
    """
    rows, columns, classes = np.unravel_index(np.flatnonzero(~(heatmap < limit)), heatmap.shape)  # NaN counts as a peak
    values = heatmap[rows, columns, classes]
    peak = np.ones(len(values), np.bool_)
    for down, right in NEIGHBOURS:
        row = np.clip(rows + down, 0, heatmap.shape[0] - 1)
        column = np.clip(columns + right, 0, heatmap.shape[1] - 1)
        peak &= ~(heatmap[row, column, classes] > values)
    return rows[peak], columns[peak], classes[peak]


def _roles(outputs: tuple[Tensor, ...], options: Options | None) -> tuple[int, int, int]:
    """Return the positions of heatmap, sizes and offsets."""
    grids = {output.shape[:3] for output in outputs}
    two = [index for index, output in enumerate(outputs) if len(output.shape) == 4 and output.shape[3] == 2]
    if len(outputs) != 3 or len(two) < 2 or len(grids) != 1 or outputs[0].shape[0] != 1:
        shapes = ", ".join(str(list(output.shape)) for output in outputs)
        raise ModelError(
            f"a CenterNet has the outputs [1, rows, columns, classes] and twice [1, rows, columns, 2], not {shapes}",
            key="decoder",
        )
    sizes = options.output("sizes") if options else None
    offsets = options.output("offsets") if options else None
    sizes = _named(outputs, two, SIZES) if sizes is None else sizes
    offsets = _named(outputs, two, OFFSETS) if offsets is None else offsets
    if len(two) == 2 and sizes is None and offsets in two:
        sizes = sum(two) - offsets  # the remaining one
    elif len(two) == 2 and offsets is None and sizes in two:
        offsets = sum(two) - sizes
    if sizes is None or offsets is None or sizes == offsets or not {sizes, offsets} <= set(two):
        names = ", ".join(outputs[index].name for index in two)
        raise ModelError(
            f"which of its outputs {names} contains sizes and which contains offsets is unknown; name them {REMEDY}",
            key="decoder",
        )
    return 3 - sizes - offsets, sizes, offsets


def _named(outputs: tuple[Tensor, ...], among: list[int], parts: tuple[str, ...]) -> int | None:
    """Return the only output with one of the parts in its name, else None."""
    found = [index for index in among if any(part in outputs[index].name.lower() for part in parts)]
    return found[0] if len(found) == 1 else None
