"""Preprocessing: from a frame to the input tensor of a model. There is one file each for pictures, signals and text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.frames.frame import Captured
from edge_infer.frames.geometry import Transform
from edge_infer.plan.plugins import load
from edge_infer.plan.records import Gives, ModelInput

PREPROCESS: Final[Mapping[Gives, str]] = {
    "image": "edge_infer.engine.preprocess.image:ImagePreprocess",
    "samples": "edge_infer.engine.preprocess.signal:SignalPreprocess",
    "text": "edge_infer.engine.preprocess.text:TextPreprocess",
}


class Preprocessor(Protocol):
    """Preprocessing of one kind of input, built from plan and tensor; raises `ModelError` if they do not fit.

    ``frames`` returns the model inputs that a captured item completes: a picture at once, windows of samples when they
    are complete. Calling the object writes one of these inputs into a view of the input tensor. The call returns the
    transform of the picture, or `NO_PLACE` for other inputs. ``example`` returns an input for warming up the model.
    ``beside`` is optional: arrays by name, which are copied into further inputs after each call. ``real`` is optional:
    the real numbers of the last input, before they were rounded and clipped to the tensor's type.
    """

    def __init__(self, plan: Any, tensor: Tensor) -> None: ...

    def frames(self, taken: Any) -> Iterable[Captured]:
        """Return the model inputs that this captured item completes."""

    def __call__(self, frame: Any, into: NDArray[Any]) -> Transform:
        """Write one input into ``into``, a view of the tensor; return the transform of the picture."""

    def example(self) -> Captured:
        """Return an input for warming up the model."""


def preprocess_for(plan: ModelInput, tensor: Tensor) -> Preprocessor:
    """Return the preprocessing for a model's input plan."""
    found: type[Preprocessor] = load(PREPROCESS[plan.takes])
    return found(plan, tensor)
