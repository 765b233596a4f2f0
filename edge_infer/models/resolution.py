"""The result of `resolve`, with the reason for every part of it."""

from __future__ import annotations

from typing import Annotated

from edge_infer.codec import Record, ShortText, at_most
from edge_infer.config.plan import ModelPlan

Words = Annotated[str, at_most(4000)]


class Reason(Record, frozen=True):
    """One decision: ``what`` was decided, its ``value`` in words, and ``why``."""

    what: ShortText
    value: Words
    why: Words


class TensorFacts(Record, frozen=True):
    """An input or output tensor; ``scale`` and ``zero_point`` are empty without quantization."""

    name: Words
    shape: tuple[int, ...]
    dtype: ShortText
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


class Resolution(Record, frozen=True):
    """A plan ready to be loaded, with the reasons for it; ``notes`` are hints for the operator.

    ``inputs`` and ``outputs`` have the shapes of the runtime, because a file may leave shapes open.
    """

    plan: ModelPlan
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[Words, ...] = ()
