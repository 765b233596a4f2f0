"""Whether an output holds scores already, or logits that a sigmoid makes scores of.

For families whose exports differ in that. The manifest may say ``activation: none | sigmoid``; a quantized tensor is
known by its range; a float one is looked at each time, since logits of anything but objects lie far below 0.
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
"""Quantized scores may reach so far beyond 0..1: calibration is not exact."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How the numbers of one output become scores."""

    output: Tensor
    logits: bool | None
    """None: only the numbers can tell."""

    @staticmethod
    def of(output: Tensor, options: Options) -> Scores:
        """Raises `ModelError` for an activation that is not known."""
        said = options.choice("activation", ("none", "sigmoid"))
        if said is not None:
            return Scores(output, said == "sigmoid")
        if not output.quantized:
            return Scores(output, None)
        low, high = span(output)
        return Scores(output, low < -SLACK or high > 1.0 + SLACK)

    def seen(self, raw: NDArray[Any]) -> Scores:
        """The same, decided: anything beyond 0..1 in ``raw`` means logits."""
        if self.logits is not None:
            return self
        return Scores(self.output, bool((raw < 0).any() or (raw > 1).any()))

    def limit(self, threshold: float) -> float:
        """The stored value that stands for a threshold."""
        return stored(self.output, logit(threshold) if self.logits else threshold)

    def real(self, raw: NDArray[Any]) -> Array:
        """Scores of stored values."""
        real = self.output.dequantize(raw)
        return sigmoid(real) if self.logits else real
