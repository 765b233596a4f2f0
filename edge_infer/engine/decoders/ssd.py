"""SSD heads without post-process: scores, offsets and anchors are three outputs.

Scores ``[1, n, 1 + classes]`` are a softmax with the background first. Anchors ``[1, n, 4]`` are boxes xmin, ymin,
xmax, ymax in fractions of the input. Offsets ``[1, n, 4]`` move the sides of the anchors, in units of the anchor's
width and height: ``side = anchor + offset x anchor size``. Offsets and anchors have the same shape. An output is the
anchors if its name contains ``anchor`` or ``prior``. TensorFlow 2 often replaces the names by
``StatefulPartitionedCall:0`` and so on. Then the numbers of each run decide: every anchor is a box with a positive
width and height, whereas offsets are numbers around 0 and form such boxes only by chance. The manifest may define
``decoder: {kind: ssd, anchors: NAME, scores: NAME}``. A file with two outputs and no anchors belongs to another
decoder: `ssd_encoded`.

Source: "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325), with corners in place of centre and size, as in the
detectors for microcontrollers that Keras exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import best_classes, sound_boxes, stored
from edge_infer.engine.decoders.options import Options, check_known, wrong
from edge_infer.engine.decoders.ssd_encoded import Encoded, are_encoded, known_by_name
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

ANCHORS: Final = ("anchor", "prior")
SCORES: Final = ("class", "score", "softmax")
"""Parts of names that identify outputs."""


class Ssd:
    """Decoder of candidates above the threshold, with the best class of each anchor."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(mean=(127.5,), std=(127.5,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("anchors", "anchors_file", "coding", "activation", "scores")

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless all three are there and the scores can be identified."""
        self._encoded = Encoded(layout) if are_encoded(layout.outputs) else None
        if self._encoded is not None:
            self.classes = self._encoded.classes
            return
        check_known("ssd", layout.options, ("anchors", "scores"))
        options = Options(layout)
        self._outputs = layout.outputs
        if not _fit(layout.outputs):
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                "an SSD without post-process has the outputs [1, n, 1 + classes], [1, n, 4] and [1, n, 4], or the "
                f"first two, not {shapes}",
                key="decoder",
            )
        self._scores = _scores(layout.outputs, options)
        self._pair = tuple(index for index in range(3) if index != self._scores)
        self._anchors = _anchors(layout.outputs, self._pair, options)
        self.classes = layout.outputs[self._scores].shape[2] - 1
        self._limit = stored(layout.outputs[self._scores], layout.threshold)

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per anchor."""
        if self._encoded is not None:
            return self._encoded(tensors)
        first = self._anchors if self._anchors is not None else self._by_numbers(tensors)
        second = self._pair[1 - self._pair.index(first)]
        head = tensors[self._scores][0]
        kept, classes = best_classes(head, self._limit, background=True)
        scores = self._outputs[self._scores].dequantize(head[kept, 1 + classes])
        anchors = self._outputs[first].dequantize(tensors[first][0, kept])
        offsets = self._outputs[second].dequantize(tensors[second][0, kept])
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
            sizes = anchors[:, 2:] - anchors[:, :2]
            boxes = anchors + offsets * np.concatenate((sizes, sizes), axis=1)
        return sound_boxes(boxes, scores, classes)

    def _by_numbers(self, tensors: Sequence[NDArray[Any]]) -> int:
        """Return the index of the output that holds the anchors; raise `ModelError` if both could, or neither."""
        found = [index for index in self._pair if _are_boxes(tensors[index][0])]
        if len(found) == 1:
            return found[0]
        one, other = (self._outputs[index].name for index in self._pair)
        raise ModelError(
            f"its outputs {one} and {other} are anchors and offsets, but neither their names nor their numbers show "
            "which is which; name the anchors in the manifest: `decoder: {kind: ssd, anchors: NAME}`",
            key="decoder",
        )

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise the outputs of such a model.

        Such a model has three outputs for the same anchors, two of them with four numbers per anchor, or two outputs
        with known names.
        """
        if known_by_name(outputs):
            return f"encoded boxes and class predictions of {outputs[0].shape[1]} anchors, identified by their names"
        if image_size(inputs) == (0, 0) or not _fit(outputs):
            return None
        found = [output for output in outputs if output.shape[2] != 4] or _named(outputs, SCORES)
        if len(found) != 1:
            return None
        return f"{found[0].shape[2]} scores, 4 offsets and 4 sides for each of {found[0].shape[1]} anchors"


def _fit(outputs: tuple[Tensor, ...]) -> bool:
    if len(outputs) != 3 or any(len(output.shape) != 3 or output.shape[0] != 1 for output in outputs):
        return False
    last = [output.shape[2] for output in outputs]
    return len({output.shape[1] for output in outputs}) == 1 and last.count(4) >= 2 and min(last) >= 2


def _named(outputs: tuple[Tensor, ...], parts: tuple[str, ...]) -> list[Tensor]:
    return [output for output in outputs if any(part in output.name.lower() for part in parts)]


def _scores(outputs: tuple[Tensor, ...], options: Options) -> int:
    """Return the position of the scores. The shape identifies them, unless there are three classes and a background."""
    said = options.output("scores")
    other = [index for index, output in enumerate(outputs) if output.shape[2] != 4]
    if said is not None:
        if other and said != other[0]:
            raise wrong("scores", outputs[said].name, f"{outputs[other[0]].name}, the only one of its shape")
        return said
    found = [outputs[index] for index in other] or _named(outputs, SCORES)
    if len(found) != 1:
        raise ModelError(
            "its three outputs have one shape, and their names do not show which contains the scores; name them "
            "in the manifest: `decoder: {kind: ssd, scores: NAME, anchors: NAME}`",
            key="decoder",
        )
    return outputs.index(found[0])


def _anchors(outputs: tuple[Tensor, ...], pair: tuple[int, ...], options: Options) -> int | None:
    """Return the position of the anchors; None if each run has to find them by its numbers."""
    said = options.output("anchors")
    if said is not None:
        if said not in pair:
            raise wrong("anchors", outputs[said].name, " or ".join(outputs[index].name for index in pair))
        return said
    found = _named(tuple(outputs[index] for index in pair), ANCHORS)
    return outputs.index(found[0]) if len(found) == 1 else None


def _are_boxes(rows: NDArray[Any]) -> bool:
    """Return whether each row has a positive width and height.

    The stored values are compared, because they have the same order as the real ones.
    """
    return bool((rows[:, 2] > rows[:, 0]).all() and (rows[:, 3] > rows[:, 1]).all())
