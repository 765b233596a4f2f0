"""FOMO (Faster Objects, More Objects): a coarse map of classes instead of boxes.

The one output is ``[1, rows, columns, 1 + classes]``: a softmax over each cell, with the background as the first class.
A cell usually covers 8 x 8 pixels. Adjacent cells of one class, also diagonally adjacent ones, form one object. The box
of an object surrounds its cells. The centre of the box is the centroid that FOMO defines; its size is only coarse. The
score of an object is the score of its best cell.

Source: https://docs.edgeimpulse.com/studio/projects/learning-blocks/blocks/object-detection/fomo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import holds_scores, sound_boxes, stored
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

CELL: Final = 8
"""Usual side length of a cell in pixels."""


class Fomo:
    """Decoder with one candidate for each group of cells."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(255.0,))
    nms: ClassVar[NmsPlan] = NmsPlan()

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is a map with a background and at least one class."""
        shape = layout.outputs[0].shape
        if len(layout.outputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] < 2:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(f"FOMO has one output [1, rows, columns, 1 + classes], not {shapes}", key="decoder")
        self._output = layout.outputs[0]
        self.classes = shape[3] - 1
        self._limit = stored(self._output, layout.threshold)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return one candidate for each group of cells, at most one for every two cells and class.

        The candidates need no merging.
        """
        cells = tensors[0][0]
        present = ~(cells[:, :, 1:] < self._limit)  # keeps NaN, to count it
        broken = present & ~np.isfinite(cells[:, :, 1:]) if cells.dtype.kind == "f" else np.zeros_like(present)
        present &= ~broken
        groups = [
            self._groups(cells[:, :, 1 + number], present[:, :, number], number)
            for number in np.flatnonzero(present.any(axis=(0, 1))).tolist()
        ]
        boxes, scores, classes = (np.concatenate(part) for part in zip(_NONE, *groups, strict=True))
        found = sound_boxes(boxes, scores, classes, merged=True)
        return replace(found, nonfinite=found.nonfinite + int(np.count_nonzero(broken)))

    def _groups(
        self, values: NDArray[Any], present: NDArray[np.bool_], number: int
    ) -> tuple[Array, Array, NDArray[np.int32]]:
        """Return boxes, scores and classes of the groups of cells of one class."""
        count, labels, stats, _ = cv2.connectedComponentsWithStats(present.astype(np.uint8), connectivity=8)
        best = np.zeros(count, np.float32)
        np.maximum.at(best, np.asarray(labels[present], np.intp), self._output.dequantize(values[present]))
        left, top, width, height = stats[1:, :4].T  # the first label is the background
        rows, columns = present.shape
        boxes = np.stack((left / columns, top / rows, (left + width) / columns, (top + height) / rows), axis=1)
        return boxes.astype(np.float32), best[1:], np.full(count - 1, number, np.int32)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a map of quantized scores with cells of 8 x 8 pixels."""
        if len(outputs) != 1:
            return None
        shape = outputs[0].shape
        if len(shape) != 4 or shape[3] < 2 or not holds_scores(outputs[0]):
            return None
        if (shape[2] * CELL, shape[1] * CELL) != image_size(inputs):
            return None
        return f"a map of {shape[3]} scores of 0..1 for each {CELL} x {CELL} pixels"


_NONE: Final = (np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
"""Empty arrays of one class. Concatenating them with the arrays of the other classes works even if there are no
others."""
