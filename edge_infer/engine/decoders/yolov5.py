"""YOLOv5 (and YOLOv7) as Ultralytics exports it, without non-maximum suppression.

The one output is ``[1, n, 5 + classes]``. A row holds centre x, centre y, width, height, objectness and classes; the
sigmoid is already applied to all of them. The score is objectness x class score. ``n`` is three anchors for each cell
of the strides 8, 16 and 32 (and 64 in the P6 models), three times the number of YOLOv8. Boxes are in fractions of the
input or in its pixels, detected as for YOLOv8; the manifest may define ``decoder: {kind: yolov5, boxes: fractions |
pixels}``.

Source: ``models/tf.py`` and ``models/yolo.py`` of https://github.com/ultralytics/yolov5 (layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import COLUMNS, corners, pick, sound_boxes
from edge_infer.engine.decoders.scores import Units
from edge_infer.engine.decoders.yolov8 import cells
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

ANCHORS: Final = 3
"""Anchors per cell."""


class Yolov5:
    """Decoder of candidates above the threshold, with the best class of each anchor."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(255.0,), border=114)
    nms: ClassVar[NmsPlan] = NmsPlan(iou=0.45)
    parameters: ClassVar[tuple[str, ...]] = ("boxes",)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it has the shape of such a head."""
        if not _fits(layout.outputs):
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(f"a YOLOv5 head is one output [1, n, 5 + classes], not {shapes}", key="decoder")
        self._output = layout.outputs[0]
        self._threshold = layout.threshold
        self._units = Units.of(layout, self._output)
        self.classes = self._output.shape[2] - COLUMNS

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per anchor."""
        head = tensors[0][0]
        found = pick(self._output, head, self._threshold)
        return sound_boxes(corners(found.boxes / self._units.of_all(head[:, 0])), found.scores, found.classes)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise one row for each of three anchors of every cell of this input."""
        expected = cells(inputs)
        if expected == 0 or not _fits(outputs):
            return None
        found = outputs[0].shape[1]
        if found not in (ANCHORS * expected, ANCHORS * (expected + _coarsest(inputs))):
            return None
        return f"5 + {outputs[0].shape[2] - COLUMNS} numbers for each of {found} anchors, three a cell"


def _fits(outputs: tuple[Tensor, ...]) -> bool:
    return (
        len(outputs) == 1 and len(outputs[0].shape) == 3 and outputs[0].shape[0] == 1 and outputs[0].shape[2] > COLUMNS
    )


def _coarsest(inputs: tuple[Tensor, ...]) -> int:
    """Return the number of cells of stride 64, the coarsest."""
    width, height = image_size(inputs)
    return (width // 64) * (height // 64)
