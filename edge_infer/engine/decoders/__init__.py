"""Families of models: one family, one file, one line in `decoder_names`.

A decoder *must* be a class with

- ``task``: the task it decodes for (a class attribute);
- ``input``: how models of this family are usually fed, used where neither the manifest nor the metadata in the file nor
  the input tensor's quantization says otherwise (a class attribute);
- ``nms``: how overlapping boxes of this family are usually merged, where the manifest says nothing (a class attribute);
- ``recognise(inputs, outputs) -> str | None`` (a static method): the reason in words why a model with these tensors
  is of this family, or None; it *must not* say yes where the shapes leave another reading open;
- ``__init__(layout: Layout)``: finds its outputs by name, shape and dtype and raises `ModelError` when they do not fit;
- ``classes``: how many classes its outputs tell apart, 0 where they do not say; the labels are checked against it;
- ``__call__(tensors) -> Candidates``: a pure function from the raw output arrays, in the order of
  ``layout.outputs``, to candidates; it *must not* keep or return a view of a tensor, and *may* leave out what is below
  ``layout.threshold``.

It *may* have

- ``wants_input``: true where the input is part of the outcome; then ``tensors`` has copies of ``layout.inputs`` behind
  the outputs (a class attribute);
- ``one_origin``: true where all models of the family were trained on the numbers of ``input``; then these hold before
  the range that the input tensor's quantization stands for (a class attribute);
- ``values``: how many numbers a decoder of regressions gives; the manifest's ``values`` are checked against it.

A parameter whose name ends in ``_file`` is the name of a file beside the manifest; what the decoder gets is its path.

Other packages add theirs through the entry point group ``edge_infer.decoders``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from edge_infer.codec import JsonValue
from edge_infer.config.plan import InputPlan, NmsPlan
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Candidates
from edge_infer.messages import Task
from edge_infer.models.decoder_names import DECODERS, GROUP, decoder_names, decoder_target
from edge_infer.tables import load

__all__ = ["DECODERS", "GROUP", "Decoder", "Layout", "decoder_class", "decoder_names", "decoder_target"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a decoder is built from: the model's tensors, the number of labels (0: unknown), parameters, threshold.

    ``inputs`` is the one that frames go into; of a model of text that is not resolved yet, those beside it, too.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: int
    threshold: float
    options: Mapping[str, JsonValue] = field(default_factory=dict)


class Decoder(Protocol):
    """The contract of a family; see the module's text."""

    task: ClassVar[Task]
    input: ClassVar[InputPlan]
    nms: ClassVar[NmsPlan]
    classes: int

    def __init__(self, layout: Layout) -> None: ...

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates: ...

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None: ...


def decoder_class(target: str) -> type[Decoder]:
    """The class behind ``module:Class``, as `DecoderPlan.target` names it."""
    found: type[Decoder] = load(target)
    return found
