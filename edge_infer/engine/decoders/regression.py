"""Numbers as they are: what a model measures or predicts, its outputs one after the other.

What they are called, their unit, scale and bounds are for the manifest's ``values`` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import InputPlan, NmsPlan
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Numbers
from edge_infer.errors import ModelError
from edge_infer.messages import Task

MOST = 32
"""More numbers are an embedding, a map or a picture, which does not leave the device."""


class Regression:
    """Real values of all outputs."""

    task: ClassVar[Task] = "regression"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    classes = 0

    def __init__(self, layout: Layout) -> None:
        """Raises `ModelError` for outputs of more numbers than anybody would name."""
        Options(layout, "regression")
        self._outputs = layout.outputs
        self.values = sum(int(np.prod(output.shape)) for output in layout.outputs)
        if not 1 <= self.values <= MOST:
            raise ModelError(f"a regression gives 1 to {MOST} numbers, not {self.values}", key="decoder")

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Numbers:
        """In the order of the outputs; NaN where the model said no number."""
        pairs = zip(self._outputs, tensors, strict=True)
        values = np.concatenate([output.dequantize(tensor).reshape(-1) for output, tensor in pairs])
        finite = np.isfinite(values)
        values[~finite] = np.nan
        return Numbers(values, int(values.size - np.count_nonzero(finite)))

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Never: one number could be a score as well."""
        del inputs, outputs
        return None
