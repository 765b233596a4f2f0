"""Detection of whether an output holds scores, or logits for a sigmoid.

Model families that are exported in both forms use this module. The manifest may define ``activation: none | sigmoid``.
A quantized tensor is classified by its range. A float tensor is checked in each run: where there is no object, logits
lie far below 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import logit, sigmoid, span, stored
from edge_infer.engine.decoders.options import Options, wrong
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array

SLACK: Final = 0.2
"""Tolerance by which quantized scores may exceed 0..1, because calibration is not exact."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Conversion of the numbers of one output to scores."""

    output: Tensor
    logits: bool | None
    """Whether the numbers are logits; None if each run has to check its numbers."""

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
        """Return the conversion for the numbers ``raw`` of a run: any number outside 0..1 means logits."""
        if self.logits is not None:
            return self
        return Scores(self.output, bool((raw < 0).any() or (raw > 1).any()))

    def limit(self, threshold: float) -> float:
        """Return the stored value that corresponds to a threshold."""
        return stored(self.output, logit(threshold) if self.logits else threshold)

    def real(self, raw: NDArray[Any]) -> Array:
        """Convert stored values to scores."""
        real = self.output.dequantize(raw)
        return sigmoid(real) if self.logits else real


# Detection of whether the boxes of an output are in fractions of the input or in its pixels.
#
# The manifest may define ``boxes: fractions | pixels``. A quantized tensor with a maximum of at most 4 holds fractions.
# A float tensor is checked in each run: box centres cover the whole input, so in pixels they far exceed 4.

LARGEST_FRACTION: Final = 4.0


@dataclass(frozen=True, slots=True)
class Units:
    """Unit of x and y.

    ``size`` is width and height of the input in pixels. ``pixels`` is None if each run has to derive the unit from its
    numbers.
    """

    size: tuple[int, int]
    pixels: bool | None

    @staticmethod
    def of(layout: Layout, output: Tensor) -> Units:
        """Return the unit of an output; raise `ModelError` for an unknown unit."""
        size = image_size(layout.inputs)
        said = layout.options.get("boxes")
        if said not in (None, "fractions", "pixels"):
            raise wrong("boxes", said, "fractions or pixels")
        if said is not None:
            return Units(size, said == "pixels")
        return Units(size, span(output)[1] > LARGEST_FRACTION if output.quantized else None)

    def of_all(self, centers: NDArray[Any]) -> Array:
        """Return the divisors ``[4, 1]`` that convert rows x, y, w, h to fractions of the input.

        ``centers`` are the x coordinates of all centres.
        """
        pixels = self.pixels
        if pixels is None:
            finite = centers[np.isfinite(centers)]
            pixels = bool(finite.size and finite.max() > LARGEST_FRACTION)
        unit = (*self.size, *self.size) if pixels else (1, 1, 1, 1)
        return np.array(unit, np.float32).reshape(4, 1)
