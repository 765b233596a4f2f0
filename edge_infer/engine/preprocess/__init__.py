"""From a frame to the input tensor of a model: pictures, signals and text, one file a kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from edge_infer.config.plan import Gives, ModelInput
from edge_infer.engine.frame import Captured
from edge_infer.engine.geometry import Transform
from edge_infer.engine.interpreter import Tensor
from edge_infer.tables import load

PREPROCESS: Final[Mapping[Gives, str]] = {
    "image": "edge_infer.engine.preprocess.image:ImagePreprocess",
    "samples": "edge_infer.engine.preprocess.signal:SignalPreprocess",
    "text": "edge_infer.engine.preprocess.text:TextPreprocess",
}


class Preprocess(Protocol):
    """The contract of a kind, built from the input plan and tensor; raises `ModelError` when they do not fit.

    ``frames`` says what goes into the model once something has come: a picture at once, windows of samples when they
    are whole. Calling it writes one of these into a view of the input tensor, and tells where a picture lies in it
    (`NO_PLACE` for what is none). ``example`` is something to warm the model with. It may have ``beside``: for further
    inputs, by name, arrays to be copied in after each call.
    """

    def __init__(self, plan: Any, tensor: Tensor) -> None: ...

    def frames(self, taken: Any) -> Iterable[Captured]: ...

    def __call__(self, frame: Any, into: NDArray[Any]) -> Transform: ...

    def example(self) -> Captured: ...


def preprocess_for(plan: ModelInput, tensor: Tensor) -> Preprocess:
    """The preprocess that a model's input plan asks for."""
    found: type[Preprocess] = load(PREPROCESS[plan.takes])
    return found(plan, tensor)
