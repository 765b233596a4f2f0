"""Probation of a new model: checks that it runs, that its outputs depend on its inputs, and that it is fast enough."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Interpreter, Tensor
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.errors import ModelError
from edge_infer.plan.records import ModelPlan

# Detection of outputs that a healthy model may repeat for many different inputs.

SAME: Final = 20
"""Number of different inputs for which the outputs may not be bit-identical, unless they are `quiet` or `one_class`.

Inputs and outputs are compared in the form with which the model computes: two float inputs are the same if the model
quantizes them to the same bytes.
"""
_REPEATED: Final = f"its outputs were the same, bit by bit, for {SAME} different inputs"
FEW: Final = 4
BYTES: Final = ("int8", "uint8", "bool")


def quiet(tensors: Sequence[NDArray[Any]]) -> bool:
    """Return whether the outputs are bytes and are either at most four or all saturated.

    Saturated means: both the lowest and the highest value occur, and no other.

    Healthy models repeat such outputs. A wake word model returns 0 for everything except the word. A face detector
    returns the same saturated "nothing" in every cell for a whole night. A broken model repeats its outputs as well,
    but they rarely have this form.
    """
    if not all(values.dtype.name in BYTES for values in tensors):
        return False
    if sum(values.size for values in tensors) <= FEW:
        return True
    return all(_sure(values) for values in tensors)


def _sure(values: NDArray[Any]) -> bool:
    low, high = (0, 1) if values.dtype == np.bool_ else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    lows, highs = np.count_nonzero(values == low), np.count_nonzero(values == high)
    return bool(lows and highs and lows + highs == values.size)


def one_class(tensors: Sequence[NDArray[Any]]) -> bool:
    """Return whether the outputs are whole numbers that are all equal: a map of one class, such as an empty wall."""
    return all(values.dtype.kind in "iu" and values.size > 0 and values.min() == values.max() for values in tensors)


def _same_everywhere(values: NDArray[Any]) -> bool:
    """Return whether an output is a map with the same numbers in each cell."""
    if one_class([values]):
        return values.size > FEW
    cells = values.reshape(-1, values.shape[-1])
    return len(cells) > 1 and bool((cells == cells[0]).all())


def _is_full(values: NDArray[Any]) -> bool:
    """Return whether a uniform map shows a class other than the first one, the background."""
    if one_class([values]):
        return bool(values.flat[0])
    return bool(values.reshape(-1, values.shape[-1])[0].argmax())


SLOW: Final = 5
"""Number of consecutive frames above the limit that show that a model is slow. A few such frames may be due to other
load."""
LONG: Final = 1.0
"""Seconds above the limit after which fewer consecutive slow frames suffice: five frames of a minute each would take
too long."""


class Trial:
    """Counts and checks the frames of a model on probation. The pipeline's thread writes; another thread reads."""

    def __init__(self, model: ModelPlan) -> None:
        self.frames = 0
        self.fault = ""
        self._limit = model.patience()
        self._maps = model.task == "segmentation"
        self._over: list[float] = []
        self._input = 0
        self._output: int | None = None
        self._inputs: set[int] = set()
        self._repeats = False
        self._computed: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None = None

    def given(self, interpreter: Interpreter) -> None:
        """Record the inputs of the next run."""
        if self._computed is None:
            self._computed = interpreter.computed()
        self._input = 0
        for position, tensor in enumerate(self._computed[0]):
            self._input = zlib.crc32(_bytes(_stored(interpreter.input(position), tensor)), self._input)

    def told(self, interpreter: Interpreter, tensors: Sequence[NDArray[Any]]) -> None:
        """Check the outputs of the run; raises `ModelError` for outputs that no healthy model returns."""
        output = 0
        for tensor, values in zip(interpreter.outputs, tensors, strict=False):  # copies of inputs may follow
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelError(f"its output {tensor.name} has values that are not finite")
            output = zlib.crc32(_bytes(values), output)
        if output != self._output:
            self._output, self._inputs = output, set()
        self._inputs.add(self._input)
        outputs = tensors[: len(interpreter.outputs)]
        self._repeats = len(self._inputs) >= SAME
        if self._repeats and not self._quiet(outputs) and not (self._maps and one_class(outputs)):
            raise ModelError(_REPEATED)
        self._repeats &= all(map(_same_everywhere, outputs))
        if self._repeats and any(map(_is_full, outputs)):  # whatever threshold and labels currently hide
            raise ModelError(_REPEATED)

    def found(self, findings: Findings) -> None:
        """Raise `ModelError` if a map is the same for many inputs and in each cell, and shows an object.

        The first class of a segmentation is the background, so it is not an object.
        """
        if isinstance(findings, SegmentationFindings):
            shows = any(item.class_id for item in findings.segments)
        else:
            shows = bool(findings.essence)
        if self._repeats and shows:
            raise ModelError(_REPEATED)

    def _quiet(self, outputs: Sequence[NDArray[Any]]) -> bool:
        assert self._computed is not None
        return quiet([_stored(values, tensor) for values, tensor in zip(outputs, self._computed[1], strict=True)])

    def done(self, seconds: float) -> None:
        """Record that a frame became an outcome within ``seconds``."""
        self.frames += 1
        self._over = [*self._over, seconds] if seconds > self._limit else []
        if len(self._over) >= SLOW or sum(self._over) >= self._limit + LONG:
            worst = max(self._over)
            self.failed(f"a frame took {worst:.3g} s, longer than the limit of {self._limit:.3g} s")

    def failed(self, text: str) -> None:
        """Record a fault; only the first fault is kept."""
        self.fault = self.fault or text[:400]


def _stored(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return floats as the integers with which the model computes; return other values unchanged."""
    if values.dtype.name == tensor.dtype or values.dtype.kind != "f":
        return values
    stored = np.empty(values.shape, tensor.dtype)
    with np.errstate(invalid="ignore"):  # NaN becomes an arbitrary integer
        tensor.store(values, stored)
    return stored


def _bytes(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).data
