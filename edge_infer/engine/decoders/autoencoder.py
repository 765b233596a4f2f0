"""Autoencoder for anomalies: the distance between its output and its input.

The distance is the mean of the squared differences over all features, in the units of the training, as in the MLPerf
Tiny benchmark; with ``error: absolute`` the mean of the absolute differences. The decoder compares the output with the
input before quantization. The range of the input tensor therefore does not limit the distance of a window of samples,
and the distance contains no rounding error of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Distance
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

LARGEST: Final = float(np.finfo(np.float32).max)
"""Limit to which the input is clipped, so that no distance overflows."""


class Autoencoder:
    """Decoder of the reconstruction error of one frame."""

    task: ClassVar[Task] = "anomaly"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("error",)
    wants_real_input: ClassVar[bool] = True
    classes = 0

    def __init__(self, layout: Layout) -> None:
        """Check the tensors; raise `ModelError` unless the one output is as large as the one input."""
        self._absolute = Options(layout).choice("error", ("squared", "absolute")) == "absolute"
        if len(layout.inputs) != 1 or len(layout.outputs) != 1 or _count(layout.inputs[0]) != _count(layout.outputs[0]):
            shapes = " and ".join(str([list(each.shape) for each in part]) for part in (layout.inputs, layout.outputs))
            raise ModelError(
                f"an autoencoder has one input and an output of the same size, not {shapes}", key="decoder"
            )
        self._output = layout.outputs[0]

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Distance:
        """Return the distance of ``tensors``: of the output and the input. It is NaN if an output is not finite."""
        made = self._output.dequantize(tensors[0].reshape(-1))
        given = np.clip(tensors[1].reshape(-1), -LARGEST, LARGEST)
        nonfinite = int(made.size - np.count_nonzero(np.isfinite(made)))
        if nonfinite:
            return Distance(float("nan"), nonfinite)
        difference = made.astype(np.float64) - given
        return Distance(float(np.mean(np.abs(difference) if self._absolute else difference**2)))

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Return None: a model that turns a picture into a picture need not be an autoencoder."""
        del inputs, outputs
        return None


def _count(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape))
