"""Segmentation with a class for each pixel: DeepLab, U-Net and any model with a map.

- ``[1, h, w]`` or ``[1, h, w, 1]`` of whole numbers without quantization: class ids, computed by the model;
- ``[1, h, w, classes]`` (or ``[1, classes, h, w]``, if the input has its channels first or only that fits the labels):
  one number per class. The class with the greatest number is chosen, so scores, logits and quantized values need no
  conversion;
- ``[1, h, w, 1]`` of floats or quantized numbers: the score or the logit of the second of two classes. A score of at
  least 0.5 selects the second class (`Scores`; the manifest may define ``activation: none | sigmoid``).

Source: "Rethinking Atrous Convolution for Semantic Image Segmentation" (arXiv:1706.05587) for the first two forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.decoders.scores import Scores
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import channels_first, image_size
from edge_infer.engine.records import Regions
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

IDS: Final = ("int64", "int32", "uint8", "int16", "int8")
GREATEST: Final = (1 << 31) - 1
NOBODY: Final = -1
"""Class id of a pixel with a non-finite number."""
COLOR: Final = 3


class Segmentation:
    """Decoder of the class of each output pixel, at any size."""

    task: ClassVar[Task] = "segmentation"
    input: ClassVar[InputPlan] = InputPlan(mean=(127.5,), std=(127.5,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("activation",)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is one map."""
        options = Options(layout)
        shape = layout.outputs[0].shape if len(layout.outputs) == 1 else ()
        if len(shape) not in (3, 4) or shape[0] != 1:
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                f"a segmentation has one output, [1, height, width] of class ids or [1, height, width, classes], not "
                f"{shapes}",
                key="decoder",
            )
        self._ids = _are_ids(layout.outputs[0])
        if len(shape) == 3 and not self._ids:
            raise ModelError(
                f"its output {layout.outputs[0].name} of {layout.outputs[0].dtype} has one number a pixel, but class "
                "ids are whole numbers without quantization",
                key="decoder",
            )
        self._classes_first = not self._ids and _classes_first(layout)
        count = 0 if self._ids else shape[1 if self._classes_first else 3]
        self.classes = 2 if count == 1 else count
        self._one = Scores.of(layout.outputs[0], options) if count == 1 else None

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Regions:
        """Return the class ids, ``[height, width]``. A pixel with a non-finite number gets -1 and is counted."""
        raw = tensors[0][0]
        if self._ids:
            ids = raw.reshape(raw.shape[:2])
            return Regions(np.clip(ids, NOBODY, GREATEST).astype(np.int32))
        if self._classes_first:
            raw = raw.transpose(1, 2, 0)
        classes = self._of_one(raw[:, :, 0]) if self._one else raw.argmax(axis=2).astype(np.int32)
        if raw.dtype.kind != "f" or np.isfinite(raw).all():
            return Regions(classes)
        finite = np.isfinite(raw).all(axis=2)
        classes[~finite] = NOBODY
        return Regions(classes, int(np.count_nonzero(~finite)))

    def _of_one(self, raw: NDArray[Any]) -> NDArray[np.int32]:
        assert self._one is not None
        return (raw >= self._one.seen(raw).limit(0.5)).astype(np.int32)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a model from a picture to class ids, or to a map of the picture's size that is not a picture."""
        size = image_size(inputs)
        if size == (0, 0) or len(outputs) != 1 or outputs[0].shape[:1] != (1,):
            return None
        shape = outputs[0].shape
        if len(shape) == 3 and outputs[0].dtype in ("int64", "int32") and _are_ids(outputs[0]):
            return f"a class id for each of {shape[1]} x {shape[2]} places"
        if len(shape) == 4 and shape[1:3] == size[::-1] and shape[3] > 1 and shape[3] != COLOR:
            return f"{shape[3]} numbers for each pixel of its input"
        return None


def _are_ids(output: Tensor) -> bool:
    flat = len(output.shape) == 3 or output.shape[3] == 1
    return flat and output.dtype in IDS and not output.quantized


def _classes_first(layout: Layout) -> bool:
    """Return whether the output is ``[1, classes, h, w]``."""
    shape, labels = layout.outputs[0].shape, layout.labels
    if labels and (shape[1] == labels) != (shape[3] == labels):
        return shape[1] == labels
    return channels_first(layout.inputs[0])
