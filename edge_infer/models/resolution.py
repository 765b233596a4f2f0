"""The outcome of `resolve`, with the reason for every part of it."""

from __future__ import annotations

from typing import Annotated

from edge_infer.codec import Record, ShortText, at_most
from edge_infer.config.plan import ModelPlan

Words = Annotated[str, at_most(4000)]


class Reason(Record, frozen=True):
    """One thing that was decided: ``what`` it is, its ``value`` in words, and ``why`` it is that."""

    what: ShortText
    value: Words
    why: Words


class TensorFacts(Record, frozen=True):
    """An input or output; ``scale`` and ``zero_point`` are empty without quantization."""

    name: Words
    shape: tuple[int, ...]
    dtype: ShortText
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


class Resolution(Record, frozen=True):
    """A model, ready to be loaded, and how it came about; ``notes`` are what the operator should know.

    ``inputs`` and ``outputs`` are as the runtime has them: a file may leave shapes open.
    """

    plan: ModelPlan
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[Words, ...] = ()
