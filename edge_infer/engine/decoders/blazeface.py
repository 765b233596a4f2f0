"""BlazeFace, the face detectors of MediaPipe.

The short-range model has 896 anchors, the full-range model 48 x 48 cells with one anchor each.

Outputs are regressions ``[1, n, 16]`` and score logits ``[1, n, 1]``. Short-range files often split each output into
two parts: 512 anchors (16 x 16 cells with 2 each) and 384 (8 x 8 cells with 6 each). The order of the parts varies, so
they are matched by shape. The first four of the 16 numbers are centre x, centre y, width and height in pixels of the
input. The centre is relative to the centre of the anchor's cell. Six keypoints follow. Source: "BlazeFace:
Sub-millisecond Neural Face Detection on Mobile GPUs" (arXiv:1907.05047) and MediaPipe's ``face_detection`` graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import corners, logit, sigmoid, sound_boxes, stored
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

Grid = tuple[tuple[int, int], ...]
"""Cells per side and anchors per cell. Each part of the anchors has one pair, in the order of the anchors."""
GRIDS: Final[tuple[Grid, ...]] = (((16, 2), (8, 6)), ((48, 1),))
REGRESSIONS: Final = 16


class BlazeFace:
    """Decoder of faces above the threshold; one class."""

    task: ClassVar[Task] = "detection"
    one_origin: ClassVar[bool] = True
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,))
    nms: ClassVar[NmsPlan] = NmsPlan(iou=0.3)
    classes = 1

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless they have the shapes of one of the grids."""
        found = _match(layout.outputs)
        if found is None:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                "BlazeFace has the outputs [1, n, 16] and [1, n, 1] with n = 896 (or both in parts of 512 and 384) or "
                f"2304, not {shapes}",
                key="decoder",
            )
        grid, self._parts = found
        self._outputs = layout.outputs
        self._size = image_size(layout.inputs)
        self._anchors = _anchors(grid)
        threshold = logit(layout.threshold)
        self._thresholds = [stored(layout.outputs[scores], threshold) for _, scores in self._parts]

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per anchor."""
        regressions, logits, places, start = [], [], [], 0
        for (boxes, scores), threshold in zip(self._parts, self._thresholds, strict=True):
            raw = tensors[scores].reshape(-1)
            kept = np.flatnonzero(~(raw < threshold))  # keeps NaN, to count it
            regressions.append(self._outputs[boxes].dequantize(tensors[boxes][0, kept, :4]))
            logits.append(self._outputs[scores].dequantize(raw[kept]))
            places.append(kept + start)
            start += raw.size
        width, height = self._size
        relative: Array = np.concatenate(regressions)
        relative /= np.array((width, height, width, height), np.float32)
        relative[:, :2] += self._anchors[np.concatenate(places)]
        return sound_boxes(corners(relative.T), sigmoid(np.concatenate(logits)), np.zeros(len(relative), np.int32))

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Return the reason if the outputs have the shapes of BlazeFace, which no other family has; else None."""
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3:
            return None
        found = _match(outputs)
        if found is None:
            return None
        anchors = sum(side * side * each for side, each in found[0])
        return f"16 regressions and one score for each of {anchors} anchors"


def _match(outputs: tuple[Tensor, ...]) -> tuple[Grid, list[tuple[int, int]]] | None:
    """Return the grid and, for each part of it, the indices of regressions and scores."""
    for grid in GRIDS:
        counts = [side * side * each for side, each in grid]
        for parts in {tuple(counts), (sum(counts),)}:
            wanted = {shape for count in parts for shape in ((1, count, REGRESSIONS), (1, count, 1))}
            index = {output.shape: position for position, output in enumerate(outputs)}
            if len(outputs) == len(wanted) and wanted == set(index):
                return grid, [(index[1, count, REGRESSIONS], index[1, count, 1]) for count in parts]
    return None


def _anchors(grid: Grid) -> Array:
    """Return the centres of all anchors in fractions of the input, ``[n, 2]`` as x, y.

    The order is row, column, anchor.
    """
    parts = []
    for side, each in grid:
        centers = (np.arange(side, dtype=np.float32) + 0.5) / side
        cells = np.stack((np.tile(centers, side), np.repeat(centers, side)), axis=1)
        parts.append(np.repeat(cells, each, axis=0))
    return np.concatenate(parts)
