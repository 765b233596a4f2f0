"""Detection of whether an output holds scores, or logits for a sigmoid.

For families whose exports differ in this. The manifest may define ``activation: none | sigmoid``. A quantized tensor is
classified by its range. A float tensor is checked each time, since logits of anything but objects lie far below 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from edge_infer.engine.decoders.candidates import logit, sigmoid, span, stored
from edge_infer.engine.decoders.options import Options
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array

SLACK: Final = 0.2
"""Tolerance of quantized scores beyond 0..1: calibration is not exact."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Conversion of the numbers of one output to scores."""

    output: Tensor
    logits: bool | None
    """None: only the numbers show it."""

    @staticmethod
    def of(output: Tensor, options: Options) -> Scores:
        """Return the conversion of an output; raise `ModelError` for an unknown activation."""
        said = options.choice("activation", ("none", "sigmoid"))
        if said is not None:
            return Scores(output, said == "sigmoid")
        if not output.quantized:
            return Scores(output, None)
        low, high = span(output)
        return Scores(output, low < -SLACK or high > 1.0 + SLACK)

    def seen(self, raw: NDArray[Any]) -> Scores:
        """Return the conversion decided by ``raw``: any number beyond 0..1 means logits."""
        if self.logits is not None:
            return self
        return Scores(self.output, bool((raw < 0).any() or (raw > 1).any()))

    def limit(self, threshold: float) -> float:
        """Return the stored value of a threshold."""
        return stored(self.output, logit(threshold) if self.logits else threshold)

    def real(self, raw: NDArray[Any]) -> Array:
        """Return the scores of stored values."""
        real = self.output.dequantize(raw)
        return sigmoid(real) if self.logits else real
