"""SSD and EfficientDet with the operator ``TFLite_Detection_PostProcess``.

The operator decodes and merges boxes inside the model.

Its four outputs are boxes ``[1, n, 4]`` (ymin, xmin, ymax, xmax in fractions of the input), class ids ``[1, n]`` from 0
without a background, scores ``[1, n]`` and a count ``[1]``. Entries beyond the count are invalid. Class ids and scores
have the same shape, and their order differs between exporters. The output names tell them apart: TensorFlow 1 calls
class ids ``TFLite_Detection_PostProcess:1`` and scores ``:2``; TensorFlow 2 calls class ids
``StatefulPartitionedCall:2`` and scores ``:1``. For other names the manifest decides: ``decoder: {kind:
ssd_postprocess, classes: NAME, scores: NAME}``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import sound_boxes
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

NAMES: Final = (
    ("TFLite_Detection_PostProcess:1", "TFLite_Detection_PostProcess:2"),
    ("StatefulPartitionedCall:2", "StatefulPartitionedCall:1"),
)
"""Names of the class ids and of the scores, for each exporter."""


class SsdPostprocess:
    """Decoder of boxes that the model itself has decoded and merged."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan(mean=(127.5,), std=(127.5,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("classes", "scores")
    classes = 0

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless all four are there with known roles."""
        self._outputs = layout.outputs
        self._threshold = layout.threshold
        self._boxes, self._count, alike = _by_shape(layout.outputs)
        names = _names(layout, alike)
        position = {layout.outputs[index].name: index for index in alike}
        self._classes, self._scores = position[names[0]], position[names[1]]

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return the candidates up to the count that the model reports, without those below the threshold."""
        counted = float(self._real(self._count, tensors)[0])
        scores = self._real(self._scores, tensors)
        most = min(max(round(counted), 0), scores.size) if math.isfinite(counted) else scores.size
        kept = np.flatnonzero(~(scores[:most] < self._threshold))  # keeps NaN, to count it
        scores, classes = scores[kept], self._real(self._classes, tensors)[kept]
        boxes = self._real(self._boxes, tensors).reshape(-1, 4)[kept]
        unknown = ~np.isfinite(classes)
        scores[unknown], classes[unknown] = np.nan, 0.0
        numbers = np.rint(np.minimum(np.maximum(classes, -1.0), 1e6)).astype(np.int32)
        return sound_boxes(boxes[:, [1, 0, 3, 2]], scores, numbers, merged=True)

    def _real(self, index: int, tensors: Sequence[NDArray[Any]]) -> Array:
        return self._outputs[index].dequantize(tensors[index]).reshape(-1)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise the four shapes with the names of a known exporter."""
        del inputs
        try:
            alike = _by_shape(outputs)[2]
        except ModelError:
            return None
        found = _known_names(tuple(outputs[index].name for index in alike))
        return f"boxes, classes, scores and count of a detection post-process ({found[1]} …)" if found else None


def _by_shape(outputs: tuple[Tensor, ...]) -> tuple[int, int, list[int]]:
    """Return the indices of the boxes, of the count, and of the two outputs that have the same shape."""
    boxes = [index for index, output in enumerate(outputs) if len(output.shape) == 3 and output.shape[2] == 4]
    count = [index for index, output in enumerate(outputs) if output.shape in ((1,), ())]
    most = outputs[boxes[0]].shape[1] if len(boxes) == 1 else -1
    alike = [index for index, output in enumerate(outputs) if output.shape == (1, most)]
    if len(outputs) != 4 or len(count) != 1 or len(alike) != 2:
        shapes = ", ".join(str(list(output.shape)) for output in outputs)
        raise ModelError(
            f"a detection post-process has the outputs [1, n, 4], [1, n], [1, n] and [1], not {shapes}", key="decoder"
        )
    return boxes[0], count[0], alike


def _names(layout: Layout, alike: list[int]) -> tuple[str, str]:
    """Return the names of the outputs that hold the class ids and the scores."""
    there = tuple(layout.outputs[index].name for index in alike)
    said = (layout.options.get("classes"), layout.options.get("scores"))
    if said != (None, None):
        for option, name in zip(("classes", "scores"), said, strict=True):
            if name not in there:
                raise ModelError(
                    f"the manifest's `decoder: {option}` is {name!r}; expected one of {', '.join(there)}", key="decoder"
                )
        return str(said[0]), str(said[1])
    found = _known_names(there)
    if found is None:
        raise ModelError(
            f"its outputs {there[0]} and {there[1]} have the same form, and no known exporter uses their "
            "names; name them in the manifest: `decoder: {kind: ssd_postprocess, classes: NAME, scores: NAME}`",
            key="decoder",
        )
    return found


def _known_names(there: tuple[str, ...]) -> tuple[str, str] | None:
    return next((pair for pair in NAMES if set(pair) == set(there)), None)
