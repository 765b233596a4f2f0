"""YOLOv8 and YOLO11 instance segmentation heads as Ultralytics exports them, without non-maximum suppression.

There are two outputs: the head of `yolov8` with m mask coefficients after the classes, ``[1, 4 + classes + m, n]``, and
m prototype masks ``[1, h, w, m]`` or ``[1, m, h, w]``, m = 32. The mask of an object is where the weighted sum of the
prototypes, with the object's coefficients as weights, is above 0 (a sigmoid above 0.5). The decoder returns no masks.
For each box it returns the share of the box that the mask fills, sampled on a grid of points.

Source: https://docs.ultralytics.com/tasks/segment/ (models), "YOLACT: Real-time Instance Segmentation"
(arXiv:1904.02689) for the prototypes.
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
from edge_infer.engine.decoders.yolov8 import cells
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

BOX: Final = 4
MASKS: Final = 32
FINER: Final = 4
"""Input pixels per prototype pixel, in each direction."""
SIDE: Final = 16
"""Number of sample points per side of a box."""
BEYOND: Final = 1000.0
"""Limit of box coordinates, in multiples of the input size; no box of a sound model reaches farther."""
MOST: Final = 256
"""Maximum number of candidates, best first. A sound model has fewer. A broken model must not stall the board."""


class Yolov8Segment:
    """Decoder of candidates above the threshold: the best class of each cell, and the filled share of its box."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(255.0,), border=114)
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("boxes",)

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless they are a head and its prototypes."""
        found = _match(layout.inputs, layout.outputs)
        if found is None:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                f"a YOLOv8 segmentation head has two outputs, [1, 4 + classes + 32, {cells(layout.inputs)}] and "
                f"prototypes of a quarter of the input's size with 32 channels, not {shapes}",
                key="decoder",
            )
        self._head, self._prototypes = found
        self._outputs = layout.outputs
        shape = layout.outputs[self._head].shape
        self._cells_first = shape[1] == cells(layout.inputs)
        self.classes = (shape[2] if self._cells_first else shape[1]) - BOX - MASKS
        self._masks_first = layout.outputs[self._prototypes].shape[1] == MASKS
        self._threshold = stored(layout.outputs[self._head], layout.threshold)
        self._units = Units.of(layout, layout.outputs[self._head])

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per cell."""
        output, head = self._outputs[self._head], tensors[self._head][0]
        head = head.T if self._cells_first else head
        scores = head[BOX : BOX + self.classes]
        best = scores.max(axis=0)
        kept = np.flatnonzero(~(best < self._threshold))  # keeps NaN, to count it
        if kept.size > MOST:
            kept = kept[np.argpartition(best[kept], -MOST)[-MOST:]]
        real = output.dequantize(head[:, kept])
        boxes = corners(real[:BOX] / self._units.of_all(head[0]))
        coefficients = real[BOX + self.classes :].T
        boxes[~np.isfinite(coefficients).all(axis=1)] = np.nan  # later counted and dropped with the invalid boxes
        shares = self._shares(np.where(np.isfinite(boxes), boxes, 0), coefficients, tensors[self._prototypes][0])
        return sound_boxes(boxes, output.dequantize(best[kept]), scores[:, kept].argmax(axis=0), shares=shares)

    def _shares(self, boxes: Array, coefficients: Array, prototypes: NDArray[Any]) -> Array:
        """Return the share of each box ``[n, 4]`` in which its mask is above 0.

        Points outside the input count as not filled.
        """
        height, width = prototypes.shape[1:] if self._masks_first else prototypes.shape[:2]
        steps = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) / np.float32(SIDE)
        low, high = np.clip(boxes[:, :2], -BEYOND, BEYOND), np.clip(boxes[:, 2:], -BEYOND, BEYOND)
        x, y = (low[:, axis, np.newaxis] + steps * (high - low)[:, axis, np.newaxis] for axis in (0, 1))
        columns = np.clip(x * width, 0, width - 1).astype(np.intp)[:, np.newaxis, :]
        rows = np.clip(y * height, 0, height - 1).astype(np.intp)[:, :, np.newaxis]
        # One index into the flattened prototypes: separate row and column indices take ten times as long.
        at = _taken(prototypes, (rows * width + columns).reshape(-1), masks_first=self._masks_first)
        values = _centered(self._outputs[self._prototypes], at).reshape(len(boxes), SIDE * SIDE, MASKS)
        with np.errstate(over="ignore", invalid="ignore"):
            masks = np.matmul(values, coefficients[:, :, np.newaxis])[:, :, 0] > 0  # NaN is not above 0 either
        inside = (np.abs(y - 0.5) < 0.5)[:, :, np.newaxis] & (np.abs(x - 0.5) < 0.5)[:, np.newaxis, :]
        filled = np.count_nonzero(masks & inside.reshape(masks.shape), axis=1)
        shares: Array = filled.astype(np.float32) / np.float32(SIDE * SIDE)
        return shares

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a head over the cells of this input, and 32 prototypes of a quarter of its width and height."""
        if _match(inputs, outputs) is None:
            return None
        return f"a head over the {cells(inputs)} cells of strides 8, 16 and 32, and {MASKS} prototype masks"


def _taken(prototypes: NDArray[Any], places: NDArray[np.intp], *, masks_first: bool) -> NDArray[Any]:
    """Return the values of all prototypes at the pixels ``places``, as ``[places, MASKS]``."""
    if masks_first:
        return prototypes.reshape(MASKS, -1).take(places, axis=1).T
    return prototypes.reshape(-1, MASKS).take(places, axis=0)


def _centered(output: Tensor, at: NDArray[Any]) -> Array:
    """Return numbers that are proportional to the real values.

    Only the sign of their weighted sum matters, so the scale is omitted.
    """
    values: Array = at.astype(np.float32, copy=False)
    if output.quantized and output.zero_point[0]:
        values -= np.float32(output.zero_point[0])
    return values


def _match(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[int, int] | None:
    """Return the positions of the head and of the prototypes, or None."""
    (width, height), expected = image_size(inputs), cells(inputs)
    if expected == 0 or sorted(len(output.shape) for output in outputs) != [3, 4]:
        return None
    head, masks = (0, 1) if len(outputs[0].shape) == 3 else (1, 0)
    down, across = height // FINER, width // FINER
    if outputs[masks].shape not in ((1, down, across, MASKS), (1, MASKS, down, across)):
        return None
    sides = list(outputs[head].shape[1:])
    if outputs[head].shape[0] != 1 or sides.count(expected) != 1:
        return None
    rows = sides[1 - sides.index(expected)]
    return (head, masks) if rows > BOX + MASKS else None
