"""YOLOv8 and YOLO11 pose heads as Ultralytics exports them, without non-maximum suppression.

The one output is ``[1, 4 + classes + k * 3, n]`` or ``[1, n, …]``: the box as in `yolov8`, the class scores, then k
keypoints. A keypoint is x, y and visibility, or x and y alone, in the unit of the boxes. The sigmoid is already applied
to scores and visibilities. There is one class, unless labels define more. The manifest may define ``decoder: {kind:
yolov8_pose, keypoints: 17, boxes: fractions | pixels}``.

Source: https://docs.ultralytics.com/tasks/pose/ (models), ``ultralytics/nn/modules/head.py`` (layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import MAX_POINTS, Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import corners, sound_bodies, stored
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.decoders.scores import Units
from edge_infer.engine.decoders.yolov8 import POSE, cells
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Bodies
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

BOX: Final = 4


class Yolov8Pose:
    """Decoder of the bodies above the threshold, with the best class of each cell."""

    task: ClassVar[Task] = "pose"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(255.0,), border=114)
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("keypoints", "boxes")

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is such a head and the row of its first keypoint is known."""
        options = Options(layout)
        shape = layout.outputs[0].shape if len(layout.outputs) == 1 else ()
        expected = cells(layout.inputs)
        if len(shape) != 3 or shape[0] != 1 or shape[1:].count(expected) != 1:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                f"a YOLOv8 pose head is one output of the {expected} cells of its input, each of 4 + classes + "
                f"keypoints x 3 numbers, not {shapes}",
                key="decoder",
            )
        self._output = layout.outputs[0]
        self._cells_first = shape[1] == expected
        rows = shape[2] if self._cells_first else shape[1]
        self.classes, self._points, self._numbers = _parts(rows, layout.labels or 1, options)
        self._threshold = stored(self._output, layout.threshold)
        self._units = Units.of(layout, self._output)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Bodies:
        """Return at most one body per cell, with a box for merging."""
        head = tensors[0][0].T if self._cells_first else tensors[0][0]
        best = head[BOX : BOX + self.classes].max(axis=0)
        kept = np.flatnonzero(~(best < self._threshold))  # keeps NaN, to count it
        real = self._output.dequantize(head[:, kept])
        boxes = corners(real[:BOX] / self._units.of_all(head[0]))
        scores = self._output.dequantize(best[kept])
        return sound_bodies(self._keypoints(head, real, scores), scores, boxes)

    def _keypoints(self, head: NDArray[Any], real: Array, scores: Array) -> Array:
        """Return the keypoints ``[n, k, 3]``. Without visibilities every point gets the score of its body."""
        start = BOX + self.classes
        unit = self._units.of_all(head[start])[:2]  # own unit: some exporters divide boxes but not keypoints
        found = real[start:].reshape(self._points, self._numbers, -1)
        seen = found[:, 2:] if self._numbers == 3 else np.broadcast_to(scores, (self._points, 1, scores.size))
        points: Array = np.concatenate((found[:, :2] / unit, seen), axis=1).transpose(2, 0, 1)
        return points

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise an output with the cells of this input on one axis, and a body with 17 keypoints on the other."""
        expected = cells(inputs)
        if expected == 0 or len(outputs) != 1 or sorted(outputs[0].shape) != sorted((1, POSE, expected)):
            return None
        return f"a box, a score and 17 keypoints for each of the {expected} cells of strides 8, 16 and 32"


def _parts(rows: int, classes: int, options: Options) -> tuple[int, int, int]:
    """Return the numbers of classes, keypoints and values per keypoint.

    Raises `ModelError` if they do not add up to ``rows``.
    """
    rest = rows - BOX - classes
    said = options.number("keypoints", 1, MAX_POINTS)
    for numbers in (3, 2):
        points = rest // numbers if said is None else int(said)
        if points > 0 and rest == points * numbers and (said is not None or numbers == 3):
            return classes, points, numbers
    wanted = "k" if said is None else f"{said:g}"
    raise ModelError(
        f"it has {rows} numbers a cell, which are not 4 + {classes} (classes) + {wanted} keypoints of 3 numbers; are "
        "the labels complete? `decoder: {kind: yolov8_pose, keypoints: N}` sets the number of keypoints",
        key="decoder",
    )
