"""YOLOv2 and its small relatives (Tiny YOLO v2, ``st_yolo_lc``): a grid with a few anchors per cell.

The one output ``[1, rows, columns, anchors x (5 + classes)]`` holds raw numbers of the last convolution. For each
anchor they are x, y, w, h, objectness and classes: ``centre = (cell + sigmoid(x, y)) / cells``, ``size = anchor x e^(w,
h)``, ``score = sigmoid(objectness) x softmax(classes)``. The anchors are not in the file, so the manifest has to define
them: ``decoder: {kind: yolo_grid, anchors: [[w, h], …]}`` in fractions of the input. Anchors in Darknet's files are in
cells: divide them by the number of cells per side.

Source: "YOLO9000: Better, Faster, Stronger" (arXiv:1612.08242).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import COLUMNS, corners, logit, sigmoid, sound_boxes, stored
from edge_infer.engine.decoders.options import Options, number, wrong
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

LARGEST: Final = 4.0
"""Maximum width or height of an anchor in fractions of the input. A larger number shows that the anchors are in another
unit."""
EXAMPLE: Final = "a list of pairs [width, height] in fractions of the input, such as [[0.08, 0.18], [0.17, 0.42]]"


class YoloGrid:
    """Decoder of candidates above the threshold, with the best class of each anchor."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(mean=(0.0,), std=(255.0,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("anchors",)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is such a grid and the manifest defines anchors that fit."""
        self._anchors = _anchors(Options(layout))
        count = len(self._anchors)
        shape = layout.outputs[0].shape
        if len(layout.outputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] % count or shape[3] // count < 6:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                f"a YOLO grid with {count} anchors is one output [1, rows, columns, {count} x (5 + classes)], "
                f"not {shapes}",
                key="decoder",
            )
        self._output = layout.outputs[0]
        self._rows, self._columns = shape[1:3]
        self.classes = shape[3] // count - COLUMNS
        self._threshold = layout.threshold
        self._limit = stored(self._output, logit(layout.threshold))

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per cell and anchor."""
        head = tensors[0].reshape(-1, COLUMNS + self.classes)
        places = np.flatnonzero(~(head[:, 4] < self._limit))  # keeps NaN, to count it
        real = self._output.dequantize(head[places]).T
        scores, classes = _scores(real)
        kept = ~(scores < self._threshold)
        boxes = self._boxes(real[:4, kept], places[kept])
        return sound_boxes(corners(boxes), scores[kept], classes[kept])

    def _boxes(self, real: Array, places: NDArray[np.intp]) -> Array:
        """Return rows centre x, centre y, width, height of the boxes of the anchors at ``places``."""
        cell, anchor = np.divmod(places, len(self._anchors))
        row, column = np.divmod(cell, self._columns)
        boxes = np.empty_like(real)
        boxes[0] = (column + sigmoid(real[0])) / np.float32(self._columns)
        boxes[1] = (row + sigmoid(real[1])) / np.float32(self._rows)
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
            boxes[2:] = np.exp(real[2:]) * self._anchors[anchor].T
        return boxes

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Return None: this decoder is never chosen from the tensors alone.

        A grid of numbers may also be a map of classes, and only the manifest can define the anchors.
        """
        del inputs, outputs
        return None


def _scores(real: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the score and the best class of each column x, y, w, h, objectness, classes; NaN for non-finite logits."""
    logits = real[COLUMNS:]
    classes: NDArray[np.intp] = logits.argmax(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        # the best score of a softmax is 1 / (the sum of e^(logit - largest logit))
        best = np.float32(1.0) / np.exp(logits - logits.max(axis=0, initial=-np.inf)).sum(axis=0)
    best[~np.isfinite(logits).all(axis=0)] = np.nan
    scores: Array = sigmoid(real[4]) * best
    return scores, classes


def _anchors(options: Options) -> Array:
    """Return ``[anchors, 2]`` as width, height in fractions of the input."""
    said = options.get("anchors")
    if said is None:
        raise ModelError(
            "a YOLO grid needs anchors, and the model file contains none; list them in the manifest: "
            f"`decoder: {{kind: yolo_grid, anchors: …}}`, {EXAMPLE}",
            key="decoder",
        )
    if not isinstance(said, (list, tuple)) or not said:
        raise wrong("anchors", said, EXAMPLE)
    pairs = []
    for pair in said:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise wrong("anchors", pair, EXAMPLE)
        sides = [number("anchors", side, 0.0, np.inf) for side in pair]
        if min(sides) == 0 or max(sides) > LARGEST:
            hint = "; if they are in cells, as in Darknet's files, divide them by the cells a side"
            raise wrong("anchors", pair, EXAMPLE + hint)
        pairs.append(sides)
    return np.array(pairs, np.float32)
