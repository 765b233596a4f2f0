"""EfficientDet and EfficientDet-Lite, with or without non-maximum suppression (NMS) inside the model.

With NMS, the outputs come from the operator ``TFLite_Detection_PostProcess``; `SsdPostprocess` recognises such a model.
Without NMS, the outputs are classes (scores or logits, see `Scores`) and boxes for each anchor: either one pair ``[1,
n, classes]`` and ``[1, n, 4]``, or one pair ``[1, rows, columns, 9 x classes]`` and ``[1, rows, columns, 9 x 4]`` for
each level. The grid of level n is the input halved n times, rounding up; the levels are 3 to 7. Each cell has nine
anchors: the sizes ``anchor_scale x cell x 2^(0, 1/3, 2/3)``, each with the aspects 1, 2 and 1/2. Of the four numbers of
a box, y and x move the centre in units of the anchor's size; h and w are the logarithms of the factors by which the
anchor grows.

The size of the smallest anchor is not in the file, so the manifest defines it: ``decoder: {kind: efficientdet,
anchor_scale: 4}`` (3 for Lite0 to Lite2 of TensorFlow's Model Maker, 5 for D7).

Source: "EfficientDet: Scalable and Efficient Object Detection" (arXiv:1911.09070), "Focal Loss for Dense Object
Detection" (arXiv:1708.02002) for anchors and box coding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import best_classes, corners, sound_boxes
from edge_infer.engine.decoders.options import Options, check_known
from edge_infer.engine.decoders.scores import Scores
from edge_infer.engine.decoders.ssd_postprocess import SsdPostprocess
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

LEVELS: Final = range(3, 8)
OCTAVES: Final = 3
ASPECTS: Final = (1.0, 2.0, 0.5)
EACH: Final = OCTAVES * len(ASPECTS)
"""Number of anchors per cell."""
Pair = tuple[int, int]
"""Positions of the class output and the box output of one level."""


class EfficientDet:
    """Decoder of candidates above the threshold, with the best class of each anchor."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox")
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("anchor_scale", "activation", "classes", "scores")

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless they fit the levels of the input and the anchors are defined."""
        self.classes = 0
        self._inside = SsdPostprocess(layout) if _has_nms(layout.outputs) else None
        if self._inside is not None:
            check_known("efficientdet with its own suppression", layout.options, SsdPostprocess.parameters)
            return
        check_known("efficientdet", layout.options, ("anchor_scale", "activation"))
        options = Options(layout)
        self._outputs, self._threshold = layout.outputs, layout.threshold
        self._pairs = _pairs(layout.inputs, layout.outputs)
        self.classes = _classes(layout.outputs, self._pairs)
        self._scores = [Scores.of(layout.outputs[classes], options) for classes, _ in self._pairs]
        scale = options.number("anchor_scale", 0.1, 100.0)
        if scale is None:
            raise ModelError(
                "the file does not contain the size of an EfficientDet's anchors; set it in the manifest: `decoder: "
                "{kind: "
                "efficientdet, anchor_scale: 4}` (3 for Lite0 to Lite2, 5 for D7)",
                key="decoder",
            )
        self._anchors = _anchors(_size(layout.inputs), scale)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per anchor."""
        if self._inside is not None:
            return self._inside(tensors)
        boxes, scores, found, start = [], [], [], 0
        for (first, second), reading in zip(self._pairs, self._seen(tensors), strict=True):
            head = tensors[first].reshape(-1, self.classes)
            kept, classes = best_classes(head, reading.limit(self._threshold))
            moves = self._outputs[second].dequantize(tensors[second].reshape(-1, 4)[kept])
            boxes.append(_decoded(moves.T, self._anchors[:, kept + start]))
            scores.append(reading.real(head[kept, classes]))
            found.append(classes)
            start += len(head)
        return sound_boxes(np.concatenate(boxes), np.concatenate(scores), np.concatenate(found))

    def _seen(self, tensors: Sequence[NDArray[Any]]) -> list[Scores]:
        """Return the score conversion of each level. If one level holds logits, all levels do."""
        seen = [scores.seen(tensors[pair[0]]) for scores, pair in zip(self._scores, self._pairs, strict=True)]
        logits = any(one.logits for one in seen)
        return [Scores(one.output, logits) for one in seen]

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a model with nine anchors per cell of the levels.

        A model with NMS inside belongs to the family `SsdPostprocess`.
        """
        try:
            pairs = _pairs(inputs, outputs)
            classes = _classes(outputs, pairs)
        except ModelError:
            return None
        anchors = EACH * sum(rows * columns for rows, columns in _levels(_size(inputs)))
        return f"{classes} classes and 4 sides for each of {anchors} anchors, nine a cell of five levels"


def _has_nms(outputs: tuple[Tensor, ...]) -> bool:
    return len(outputs) == 4 and any(output.shape in ((1,), ()) for output in outputs)


def _size(inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """Return the height and width of the input picture."""
    width, height = image_size(inputs)
    return height, width


def _levels(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return rows and columns of each level for an input of this height and width."""
    found = []
    for level in range(1, LEVELS[-1] + 1):
        size = (size[0] + 1) // 2, (size[1] + 1) // 2
        if level in LEVELS:
            found.append(size)
    return found


def _pairs(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> list[Pair]:
    """Return the pair of outputs of each level, or the one pair for all levels.

    Raises `ModelError` if the outputs do not fit the levels.
    """
    if image_size(inputs) != (0, 0):
        levels = _levels(_size(inputs))
        whole = EACH * sum(rows * columns for rows, columns in levels)
        wanted = [(1, whole)] if len(outputs) == 2 else [(1, *level) for level in levels]
        width = 4 if len(outputs) == 2 else 4 * EACH
        found = [_pair(outputs, shape, width) for shape in wanted]
        pairs = [pair for pair in found if pair is not None]
        if len(pairs) == len(wanted) and 2 * len(pairs) == len(outputs):
            return pairs
        right = f" (here n = {whole}, the first level {levels[0][0]} x {levels[0][1]})"
    else:
        right = ""
    shapes = ", ".join(str(list(output.shape)) for output in outputs)
    raise ModelError(
        "an EfficientDet has the four outputs of a post-process, or [1, n, classes] and [1, n, 4], or [1, rows, "
        f"columns, 9 x classes] and [1, rows, columns, 36] for each of five levels{right}, not {shapes}",
        key="decoder",
    )


def _pair(outputs: tuple[Tensor, ...], shape: tuple[int, ...], width: int) -> Pair | None:
    """Return the positions of the class and box outputs of one level.

    The width identifies the two outputs. If both have the same width, their names do.
    """
    found = [index for index, output in enumerate(outputs) if output.shape[:-1] == shape]
    boxes = [index for index in found if outputs[index].shape[-1] == width]
    if len(boxes) == 2:
        boxes = [index for index in boxes if "box" in outputs[index].name.lower()]
    if len(found) != 2 or len(boxes) != 1:
        return None
    return next(index for index in found if index != boxes[0]), boxes[0]


def _classes(outputs: tuple[Tensor, ...], pairs: list[Pair]) -> int:
    """Return the number of classes, the same on all levels."""
    each = 1 if len(pairs) == 1 else EACH
    widths = {outputs[classes].shape[-1] for classes, _ in pairs}
    width = min(widths)
    if len(widths) != 1 or width % each:
        raise ModelError(
            f"the outputs of an EfficientDet's levels differ in their classes: {sorted(widths)}", key="decoder"
        )
    return width // each


def _anchors(size: tuple[int, int], scale: float) -> Array:
    """Return centre x, centre y, width and height of all anchors in fractions of the input, ``[4, n]``.

    The order is level, row, column, octave, aspect.
    """
    parts = []
    octaves = scale * 2.0 ** (np.arange(OCTAVES)[:, np.newaxis] / OCTAVES)
    wide, tall = (octaves * np.sqrt(ASPECTS)).reshape(-1), (octaves / np.sqrt(ASPECTS)).reshape(-1)
    for rows, columns in _levels(size):
        y, x = np.mgrid[0:rows, 0:columns] + 0.5
        cells = rows * columns
        parts.append(
            np.stack(
                (
                    np.repeat(x.reshape(-1) / columns, EACH),
                    np.repeat(y.reshape(-1) / rows, EACH),
                    np.tile(wide / columns, cells),
                    np.tile(tall / rows, cells),
                )
            )
        )
    return np.concatenate(parts, axis=1).astype(np.float32)


def _decoded(moves: Array, anchors: Array) -> Array:
    """Return boxes ``[n, 4]`` from rows y, x, h, w ``[4, n]`` and anchors ``[4, n]``."""
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
        centers = anchors[:2] + moves[[1, 0]] * anchors[2:]
        sizes = anchors[2:] * np.exp(moves[[3, 2]])
        return corners(np.concatenate((centers, sizes)))
