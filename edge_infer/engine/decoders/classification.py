"""Classifiers with one score per class: MobileNet, EfficientNet, ResNet and any model with one row of numbers.

The shape of the output does not show whether the numbers are scores or logits. The first of these rules that applies
decides:

- The manifest: ``decoder: {kind: classification, activation: none | softmax | sigmoid}``; ``none`` means that the model
  already returns scores of 0..1.
- A quantized output with the range 0..1 (scale 1/256, as TFLite stores softmax and sigmoid) holds scores.
- A float output within 0..1 that sums to 1 holds scores; this is checked in each run.

A model is rejected if its output fits none of these rules. If an output has 1,001 classes and there are 1,000 labels,
the first class is ImageNet's background, which has no label. If an output has one number and there are two labels, the
number is the score of the second label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import holds_scores, sigmoid
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Classes
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

Activation = Literal["none", "softmax", "sigmoid"]
IMAGENET: Final = 1000
REMEDY: Final = (
    "set the activation in the manifest: `decoder: {kind: classification, activation: softmax}` (sigmoid, or none "
    "if the model already returns scores of 0..1)"
)


class Classification:
    """Decoder of scores by class from the one output of a classifier."""

    task: ClassVar[Task] = "classification"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    parameters: ClassVar[tuple[str, ...]] = ("activation",)

    def __init__(self, layout: Layout) -> None:
        """Check the output; raise `ModelError` unless it is one row with a known meaning."""
        if len(layout.outputs) != 1 or not _is_row(layout.outputs[0]):
            shapes = ", ".join(str(list(output.shape)) for output in layout.outputs)
            raise ModelError(f"a classifier has one output of the shape [1, classes], not {shapes}", key="decoder")
        self._output = layout.outputs[0]
        self._activation = _activation(layout, self._output)
        count = int(np.prod(self._output.shape))
        self._background = count == IMAGENET + 1 and layout.labels == IMAGENET
        self._pair = count == 1 and layout.labels == 2
        self._table = _table(self._output, self._activation)
        self.classes = count - 1 if self._background else count + 1 if self._pair else count

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Classes:
        """Return the scores of all classes, including those below the threshold.

        If any number is not finite, all scores are 0.
        """
        row, nonfinite = tensors[0].reshape(-1), 0
        if self._table is not None:
            scores = self._table.take(row.view(np.uint8))
        else:
            real = self._output.dequantize(row)
            nonfinite = int(real.size - np.count_nonzero(np.isfinite(real)))
            scores = self._scores(real) if nonfinite == 0 else np.zeros_like(real)
        if self._background:
            scores = scores[1:]
        elif self._pair:
            scores = np.concatenate((1.0 - scores, scores)) if nonfinite == 0 else np.zeros(2, np.float32)
        return Classes(scores, nonfinite)

    def _scores(self, real: Array) -> Array:
        if self._activation is None and not _are_scores(real):
            raise ModelError(
                f"its float output {self._output.name} contains numbers from {real.min():g} to {real.max():g} "
                f"with the sum {real.sum():g}, which are not scores; {REMEDY}",
                key="decoder",
            )
        return _activated(real, self._activation)

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Recognise a model from a colour picture to one row of scores.

        A picture of one channel may be a spectrogram, and a row of floats may be an embedding.
        """
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3:
            return None
        if not _is_row(outputs[0]) or np.prod(outputs[0].shape) < 2 or not holds_scores(outputs[0]):
            return None
        return f"one picture in, one row of {int(np.prod(outputs[0].shape))} scores of 0..1 out"


def _is_row(tensor: Tensor) -> bool:
    return len(tensor.shape) >= 1 and int(np.prod(tensor.shape)) == tensor.shape[-1] > 0


def _activation(layout: Layout, output: Tensor) -> Activation | None:
    """Return the activation to apply; None for a float output, which is checked in each run."""
    said = layout.options.get("activation")
    if said is not None:
        found: Activation | None = next((known for known in get_args(Activation) if known == said), None)
        if found is None:
            raise ModelError(
                f"the manifest's `decoder: activation` is {said!r}; expected none, softmax or sigmoid", key="decoder"
            )
        return found
    if holds_scores(output):
        return "none"
    if output.quantized:
        raise ModelError(
            f"its output {output.name} (scale {output.scale[0]:g}, zero point {output.zero_point[0]}) covers more "
            f"than 0..1, so its numbers are not scores; {REMEDY}",
            key="decoder",
        )
    if np.dtype(output.dtype).kind != "f":
        raise ModelError(
            f"its output {output.name} is of {output.dtype} without quantization parameters", key="decoder"
        )
    return None


def _activated(real: Array, activation: Activation | None) -> Array:
    if activation == "softmax":
        with np.errstate(over="ignore"):  # a difference of two logits may exceed the largest float; its power is then 0
            powers: Array = np.exp(real - real.max())
        powers /= powers.sum()
        return powers
    return sigmoid(real) if activation == "sigmoid" else np.clip(real, 0.0, 1.0)


def _table(output: Tensor, activation: Activation | None) -> Array | None:
    """Return a table with the score of each stored byte, in unsigned order.

    Return None if a score depends on the scores of other classes.
    """
    if output.dtype not in ("int8", "uint8") or activation not in ("none", "sigmoid"):
        return None
    scores = _activated(output.dequantize(np.arange(256).astype(np.uint8).view(output.dtype)), activation)
    return scores if np.isfinite(scores).all() else None


def _are_scores(real: Array) -> bool:
    return bool(real.min() >= -1e-3 and real.max() <= 1.001 and abs(float(real.sum()) - 1.0) <= 0.01)
