"""YOLOX with outputs that are not decoded: ``[1, n, 5 + classes]``, one row per cell of strides 8, 16 and 32.

The first two numbers of a row are the centre, in cells, relative to the corner of the row's own cell. The logarithms of
width and height in cells follow, then objectness and classes, to which the sigmoid is already applied. The score is
objectness x class score. Rows are ordered by stride, the finest first, and then row by row of the grid. The shape also
fits a transposed YOLOv8 head with one class more.

Source: "YOLOX: Exceeding YOLO Series in 2021" (arXiv:2107.08430), ``demo_postprocess`` of its repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import COLUMNS, corners, pick, sound_boxes
from edge_infer.engine.decoders.yolov8 import STRIDES, cells
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan


class Yolox:
    """Decoder of candidates above the threshold, with the best class of each cell."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(color="bgr", resize="letterbox", mean=(0.0,), std=(1.0,), border=114)
    nms: ClassVar[NmsPlan] = NmsPlan(iou=0.45)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it has a row for each cell of the input."""
        expected = cells(layout.inputs)
        if expected == 0 or not _fits(layout.outputs, expected):
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            rows = f", here [1, {expected}, 5 + classes]" if expected else " (and sides of the input that 32 divides)"
            raise ModelError(f"a YOLOX head is one output [1, cells, 5 + classes]{rows}, not {shapes}", key="decoder")
        self._output = layout.outputs[0]
        self._threshold = layout.threshold
        self.classes = self._output.shape[2] - COLUMNS
        width, height = image_size(layout.inputs)
        self._corners, self._sizes = _grid(height, width)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per cell."""
        found = pick(self._output, tensors[0][0], self._threshold)
        sizes = self._sizes[:, found.places]
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
            boxes = np.concatenate((found.boxes[:2], np.exp(found.boxes[2:]))) * np.concatenate((sizes, sizes))
        boxes[:2] += self._corners[:, found.places]
        return sound_boxes(corners(boxes), found.scores, found.classes)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise one row of more than five numbers for each cell of this input."""
        expected = cells(inputs)
        if expected == 0 or not _fits(outputs, expected):
            return None
        return f"a row of 5 + {outputs[0].shape[2] - COLUMNS} numbers for each of {expected} cells"


def _fits(outputs: tuple[Tensor, ...], expected: int) -> bool:
    return len(outputs) == 1 and outputs[0].shape[:-1] == (1, expected) and outputs[0].shape[-1] > COLUMNS


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """Return corner and size of every cell in fractions of the input, each ``[2, n]`` as x, y."""
    corner, size = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        y, x = np.divmod(np.arange(rows * columns), columns)
        corner.append(np.stack((x / columns, y / rows)))
        size.append(np.broadcast_to(np.array([[1 / columns], [1 / rows]]), corner[-1].shape))
    return np.concatenate(corner, axis=1).astype(np.float32), np.concatenate(size, axis=1).astype(np.float32)
