"""MoveNet: single pose ``[1, 1, 17, 3]``, or up to six bodies ``[1, 6, 56]``.

A keypoint is y, x and score, in fractions of the input. In the multi-pose model 17 keypoints come first, then the box
(ymin, xmin, ymax, xmax) and the score of the body. The model has already removed duplicates. The single-pose model
returns no score for the body, so the mean score of the keypoints is used. The uint8 input has no quantization
parameters: its values are brightness 0..255.

Source: the model cards at https://www.kaggle.com/models/google/movenet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import sound_bodies
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Bodies
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

POINTS: Final = 17
SINGLE: Final = (1, 1, POINTS, 3)
MULTI: Final = POINTS * 3 + 5
MULTIPLE: Final = 32
"""Each side of the multi-pose model's picture must be a multiple of this number of pixels; the file leaves the size
open."""


class MoveNet:
    """Decoder of all bodies of the model; the task applies the threshold."""

    task: ClassVar[Task] = "pose"
    input: ClassVar[InputPlan] = InputPlan(resize="letterbox", mean=(0.0,), std=(1.0,))
    nms: ClassVar[NmsPlan] = NmsPlan()
    classes = 1

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it has the shape of one of the two models."""
        if not _fits(layout.outputs):
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(
                f"MoveNet has one output, [1, 1, 17, 3] (one body) or [1, bodies, 56] (several), not {shapes}",
                key="decoder",
            )
        self._output = layout.outputs[0]
        size = image_size(layout.inputs)
        if self._output.shape != SINGLE and any(side % MULTIPLE for side in size):
            raise ModelError(
                f"MoveNet for several bodies takes sides that are multiples of {MULTIPLE}, not {size[0]}x{size[1]}; "
                "set others in the manifest: `input: {size: 256x256}`"
            )

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Bodies:
        """Return one body, or all bodies of the multi-pose model: its unused entries have a score near 0."""
        real = self._output.dequantize(tensors[0])
        if real.shape == SINGLE:
            points = real.reshape(1, POINTS, 3)
            with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted
                scores = points[:, :, 2].mean(axis=1)
        else:
            points, scores = real[0, :, : POINTS * 3].reshape(-1, POINTS, 3), real[0, :, -1]
        return sound_bodies(points[:, :, [1, 0, 2]], scores)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise the shape of the output; no other family has 17 keypoints."""
        if len(inputs) != 1 or not _fits(outputs):
            return None
        if outputs[0].shape == SINGLE:
            return "17 keypoints of y, x and score"
        return f"up to {outputs[0].shape[1]} bodies of 17 keypoints, a box and a score"


def _fits(outputs: tuple[Tensor, ...]) -> bool:
    if len(outputs) != 1:
        return False
    shape = outputs[0].shape
    return shape == SINGLE or (len(shape) == 3 and shape[0] == 1 and shape[2] == MULTI and shape[1] <= POINTS)
