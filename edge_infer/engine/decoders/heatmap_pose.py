"""Keypoints by heatmaps: PoseNet, and networks with heatmaps alone.

Heatmaps ``[1, h, w, k]``, one per keypoint, hold scores or logits (`Scores`; the manifest may define ``activation: none
| sigmoid``). Offsets ``[1, h, w, 2k]`` hold y of all keypoints, then x of all. Offsets are in pixels of the input and
relative to the position of the cell, which is its index times the stride. The stride is (input - 1) / (cells - 1), or
input / cells if that is a whole number. Without offsets a keypoint lies in the middle of its cell. Only the best cell
of each keypoint is used, so there is one body. The score of the body is the mean score of its keypoints. Displacements,
which separate bodies, are not used.

Source: "Towards Accurate Multi-person Pose Estimation in the Wild" (arXiv:1701.01779), TensorFlow's PoseNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import MAX_POINTS, Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import sound_bodies
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.decoders.scores import Scores
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Bodies
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

FEWEST: Final = 3
"""Minimum number of keypoints for recognition: a model with fewer heatmaps may be a detector of object centres."""


class HeatmapPose:
    """Decoder of the one body of a picture."""

    task: ClassVar[Task] = "pose"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("activation",)
    classes = 1

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless they are heatmaps, alone or with offsets of the same grid."""
        found = _match(layout.outputs)
        if found is None:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                "a pose by heatmaps has the outputs [1, h, w, keypoints] and [1, h, w, 2 x keypoints], or the first "
                f"alone, not {shapes}",
                key="decoder",
            )
        self._heatmaps, self._offsets = found
        if (points := layout.outputs[self._heatmaps].shape[-1]) > MAX_POINTS:
            raise ModelError(f"its {points} keypoints are more than {MAX_POINTS}, which a message can hold", key="file")
        self._outputs = layout.outputs
        self._scores = Scores.of(layout.outputs[self._heatmaps], Options(layout))
        self._size = image_size(layout.inputs)
        _, height, width, self._points = layout.outputs[self._heatmaps].shape
        self._grid = (width, height)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Bodies:
        """Return the one body."""
        heatmaps = tensors[self._heatmaps].reshape(-1, self._points)
        best = heatmaps.argmax(axis=0)  # argmax treats NaN as the greatest value, so a NaN is found and counted
        cells = np.stack((best % self._grid[0], best // self._grid[0]), axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            places = self._places(cells, best, tensors)
            scores = self._scores.seen(heatmaps).real(heatmaps[best, np.arange(self._points)])
            points = np.concatenate((places, scores[:, np.newaxis]), axis=1)
        return sound_bodies(points[np.newaxis], np.clip(scores, 0.0, 1.0).mean(keepdims=True))

    def _places(self, cells: NDArray[np.intp], best: NDArray[np.intp], tensors: Sequence[NDArray[Any]]) -> Array:
        """Return the keypoints ``[k, 2]`` as x, y in fractions of the input."""
        if self._offsets is None:
            return ((cells + 0.5) / self._grid).astype(np.float32)
        stored = tensors[self._offsets].reshape(-1, 2, self._points)[best, :, np.arange(self._points)]
        pixels = cells * self._stride() + self._outputs[self._offsets].dequantize(stored)[:, ::-1]
        return (pixels / self._size).astype(np.float32)

    def _stride(self) -> NDArray[np.float64]:
        """Return the distance between neighbouring cells in pixels of the input, horizontally and vertically."""
        pairs = zip(self._size, self._grid, strict=True)
        found = [size / cells if size % cells == 0 else (size - 1) / max(cells - 1, 1) for size, cells in pairs]
        return np.array(found)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise two maps of one grid, the second with twice the channels."""
        found = _match(outputs)
        if image_size(inputs) == (0, 0) or found is None or found[1] is None:
            return None
        _, height, width, points = outputs[found[0]].shape
        if points < FEWEST:
            return None
        return f"heatmaps and offsets of {points} keypoints on a grid of {height} x {width}"


def _match(outputs: tuple[Tensor, ...]) -> tuple[int, int | None] | None:
    """Return the positions of heatmaps and offsets; None if no pair or several pairs fit."""
    maps = [index for index, output in enumerate(outputs) if len(output.shape) == 4 and output.shape[0] == 1]
    if len(outputs) == 1:
        return (0, None) if maps else None
    pairs = [
        (heatmaps, offsets)
        for heatmaps in maps
        for offsets in maps
        if outputs[offsets].shape == (*outputs[heatmaps].shape[:3], 2 * outputs[heatmaps].shape[3])
    ]
    return pairs[0] if len(pairs) == 1 else None
