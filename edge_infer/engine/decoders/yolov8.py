"""YOLOv8 and YOLO11 detection heads as Ultralytics exports them, without non-maximum suppression.

The one output is ``[1, 4 + classes, n]`` or ``[1, n, 4 + classes]``: centre x, centre y, width, height, then scores, to
which the sigmoid is already applied. ``n`` is the number of cells of strides 8, 16 and 32. Boxes are in fractions of
the input, or in its pixels (`Units`). The manifest may define ``decoder: {kind: yolov8, boxes: fractions | pixels}``.

Source: https://docs.ultralytics.com/modes/export/ (format), ``ultralytics/nn/modules/head.py`` (layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import corners, sound_boxes, stored
from edge_infer.engine.decoders.scores import Units
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

STRIDES: Final = (8, 16, 32)
POSE: Final = 4 + 1 + 17 * 3
"""Number of rows of a pose head, which has the shape of a detector with 52 classes."""


class Yolov8:
    """Decoder of candidates above the threshold, with the best class of each cell."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(255.0,), border=114)
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("boxes",)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is such a head and the axis of the cells is known."""
        if len(layout.outputs) != 1 or len(layout.outputs[0].shape) != 3 or layout.outputs[0].shape[0] != 1:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(f"a YOLOv8 head is one output [1, 4 + classes, n], not {shapes}", key="decoder")
        self._output = layout.outputs[0]
        rows, columns = self._output.shape[1:]
        self._cells_first = _cells_first(self._output, cells(layout.inputs), layout.labels)
        self.classes = (columns if self._cells_first else rows) - 4
        if self.classes < 1:
            raise ModelError(f"its output {self._output.name} leaves no room for classes", key="decoder")
        self._threshold = stored(self._output, layout.threshold)
        self._units = Units.of(layout, self._output)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per cell."""
        head = tensors[0][0].T if self._cells_first else tensors[0][0]
        best = head[4:].max(axis=0)
        kept = np.flatnonzero(~(best < self._threshold))  # keeps NaN, to count it
        classes = head[4:, kept].argmax(axis=0)
        boxes = self._output.dequantize(head[:4, kept])
        return sound_boxes(corners(boxes / self._units.of_all(head[0])), self._output.dequantize(best[kept]), classes)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise an output with this input's cells on one axis. A pose head's rows on the other axis exclude it."""
        if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].shape[0] != 1:
            return None
        expected = cells(inputs)
        sides = list(outputs[0].shape[1:])
        if expected == 0 or sides.count(expected) != 1:
            return None
        rows = sides[1 - sides.index(expected)]
        if rows < 5 or rows == POSE:
            return None
        return f"4 + {rows - 4} numbers for each of the {expected} cells of strides 8, 16 and 32"


def cells(inputs: tuple[Tensor, ...]) -> int:
    """Return the number of cells of all strides for an image input; 0 if the strides do not divide it."""
    width, height = image_size(inputs)
    if height % STRIDES[-1] or width % STRIDES[-1]:
        return 0
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def _cells_first(output: Tensor, expected: int, labels: int) -> bool:
    """Return whether the output is ``[1, n, 4 + classes]``."""
    rows, columns = output.shape[1:]
    if (rows == expected) != (columns == expected):
        return rows == expected
    if labels and (rows == 4 + labels) != (columns == 4 + labels):
        return columns == 4 + labels
    raise ModelError(
        f"its output {output.name} has the shape {list(output.shape)}, of which no side equals the {expected} "
        f"cells of its input or 4 + the number of labels ({labels}); is it a YOLOv8 head, and are the labels "
        "complete?",
        key="decoder",
    )
