"""Decoders: each model family has one file here and one line in `DECODERS` of `edge_infer.plan.plugins`.

A decoder *must* be a class with

- ``task``: the task it decodes for (a class attribute);
- ``input``: the usual input plan of this family, used if neither the manifest nor the metadata in the file nor the
  input tensor's quantization defines it (a class attribute);
- ``nms``: the usual merging of overlapping boxes, used if the manifest does not define it (a class attribute);
- ``recognise(inputs, outputs) -> str | None`` (a static method): the reason in words why a model with these tensors
  belongs to this family, or None; it *must* return None if the shapes also fit another family;
- ``__init__(layout: Layout)``: finds its outputs by name, shape and dtype and raises `ModelError` if they do not fit;
- ``classes``: the number of classes of its outputs, 0 if unknown; the labels are checked against it;
- ``__call__(tensors) -> Candidates``: a pure function from the raw output arrays, in the order of ``layout.outputs``,
  to candidates; it *must not* keep or return a view of a tensor, and *may* omit candidates below ``layout.threshold``.

It *may* have

- ``wants_input``: true if the decoder needs the model's input; ``tensors`` then has copies of ``layout.inputs`` after
  the outputs (a class attribute);
- ``wants_real_input``: true if it needs the real numbers of the input; ``tensors`` then has them after the outputs. For
  signals they are neither rounded nor clipped to the tensor's type (a class attribute);
- ``one_origin``: true if all models of the family were trained with ``input``, which then takes precedence over the
  range implied by the input tensor's quantization (a class attribute);
- ``parameters``: the names of the parameters that it reads from ``layout.options``; any other parameter is an error. A
  decoder of this package without this attribute accepts no parameter. A decoder of another package without it receives
  all parameters and checks them itself (a class attribute);
- ``values``: the number of values that a decoder of regressions returns; the manifest's ``values`` are checked against
  it.

A parameter with the suffix ``_file`` names a file beside the manifest; the decoder receives its path.
Other packages add decoders through the entry point group ``edge_infer.decoders``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.contract.messages import Task
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Candidates
from edge_infer.plan.plugins import DECODERS, GROUP, decoder_names, decoder_target, load
from edge_infer.plan.records import InputPlan, NmsPlan

__all__ = ["DECODERS", "GROUP", "Decoder", "Layout", "decoder_class", "decoder_names", "decoder_target"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Information from which a decoder is built: tensors, number of labels (0: unknown), options, threshold.

    ``inputs`` holds the tensor that receives frames. For a text model with inputs not resolved yet, ``inputs``
    also holds the other inputs.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: int
    threshold: float
    options: Mapping[str, JsonValue] = field(default_factory=dict)


class Decoder(Protocol):
    """Interface of a decoder; see the module docstring."""

    task: ClassVar[Task]
    input: ClassVar[InputPlan]
    nms: ClassVar[NmsPlan]
    classes: int

    def __init__(self, layout: Layout) -> None: ...

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        """Return the candidates in the output tensors of one run."""

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Return the reason why a model with these tensors is of this family; None if the model is not."""


def decoder_class(target: str) -> type[Decoder]:
    """Return the class of ``module:Class``, the format of `DecoderPlan.target`."""
    found: type[Decoder] = load(target)
    return found
