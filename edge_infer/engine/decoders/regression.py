"""Regression: numbers that a model measures or predicts, returned unchanged, output by output.

The manifest's ``values`` define their names, units, scales and bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Numbers
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

MOST = 32
"""Maximum number of values. More values are an embedding, a map or a picture, which must not leave the device."""


class Regression:
    """Decoder of the real values of all outputs."""

    task: ClassVar[Task] = "regression"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    classes = 0

    def __init__(self, layout: Layout) -> None:
        """Count the values; raise `ModelError` if there are none or more than `MOST`."""
        self._outputs = layout.outputs
        self.values = sum(int(np.prod(output.shape)) for output in layout.outputs)
        if not 1 <= self.values <= MOST:
            raise ModelError(f"a regression gives 1 to {MOST} numbers, not {self.values}", key="decoder")

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Numbers:
        """Return the values in the order of the outputs; non-finite ones become NaN."""
        pairs = zip(self._outputs, tensors, strict=True)
        values = np.concatenate([output.dequantize(tensor).reshape(-1) for output, tensor in pairs])
        finite = np.isfinite(values)
        values[~finite] = np.nan
        return Numbers(values, int(values.size - np.count_nonzero(finite)))

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Return None: a single number may also be a score."""
        del inputs, outputs
        return None
