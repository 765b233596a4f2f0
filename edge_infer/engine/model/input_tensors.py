"""Fills all inputs of a model for one frame: with the frame (in one or several forms) and with constants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess import Preprocessor, preprocess_for
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Captured
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import ModelPlan, TextPlan


class Entries:
    """Fills the inputs of a model. ``main`` is the position of the input that the model's ``input`` describes.

    Every input is written before each run, because a runtime does not guarantee to leave its inputs unchanged.
    """

    def __init__(self, model: ModelPlan, inputs: Sequence[Tensor]) -> None:
        """Prepare the content of every input.

        Raises `ModelError` if an input has no content or the content does not fit.
        """
        named = {further.name for further in model.further}
        if isinstance(model.input, TextPlan):
            named |= {name for name in (model.input.mask, model.input.segments) if name is not None}
        self._filling = threading.Lock()  # preprocessors share scratch memory with the thread that prefetches
        left = [position for position, tensor in enumerate(inputs) if tensor.name not in named]
        if len(left) != 1:
            raise ModelError(several_inputs(inputs))
        self.main = left[0]
        self.preprocess: Preprocessor = preprocess_for(model.input, inputs[self.main])
        beside: Mapping[str, NDArray[Any]] = getattr(self.preprocess, "beside", {})
        self._beside = [(position, beside[each.name]) for position, each in enumerate(inputs) if each.name in beside]
        self._others: list[tuple[int, Preprocessor]] = []
        positions = {tensor.name: position for position, tensor in enumerate(inputs)}
        for further in model.further:
            position = positions[further.name]
            if further.plan is None:
                self._beside.append((position, stored(further.values, inputs[position])))
            else:
                self._others.append((position, preprocess_for(further.plan, inputs[position])))

    @property
    def filled(self) -> tuple[int, ...]:
        """Positions of the inputs with numbers from the frame, without constants."""
        return (self.main, *(position for position, _ in self._others))

    def __call__(self, frame: Captured, view: Callable[[int], NDArray[Any]]) -> Transform:
        """Fill the inputs; return the transform of the main input.

        ``view`` returns a view of an input, given its position.
        """
        with self._filling:
            transform = self.preprocess(frame, view(self.main))
            for position, preprocess in self._others:
                preprocess(frame, view(position))
            for position, values in self._beside:
                view(position)[...] = values
            return transform


def stored(values: Sequence[float], tensor: Tensor) -> NDArray[Any]:
    """Return the content of a constant input; raises `ModelError` if the number of values is wrong."""
    count = int(np.prod(tensor.shape))
    if len(values) not in (1, count):
        raise ModelError(f"its input {tensor.name} {list(tensor.shape)} takes {count} numbers, not {len(values)}")
    into: NDArray[Any] = np.empty(tensor.shape, tensor.dtype)
    real = np.broadcast_to(np.array(values, np.float64), count)
    if into.dtype == np.bool_:
        into[...] = real.reshape(into.shape) != 0
    elif into.dtype.kind in "iuf":
        tensor.store(real, into)
    else:
        raise ModelError(f"its input {tensor.name} is of {tensor.dtype}, which takes no numbers")
    return into


def several_inputs(inputs: Sequence[Tensor]) -> str:
    """Return the error text for a model with inputs that neither the frame nor the manifest fills."""
    names = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
    return (
        f"it has {len(inputs)} inputs ({names}), and `input` describes one; set the content of the "
        "others in the manifest: `inputs: {NAME: {value: 0.5}}` for a constant, `inputs: {NAME: {}}` for the frame, or "
        "`state: {OUTPUT: INPUT}` for an output of the previous run"
    )
