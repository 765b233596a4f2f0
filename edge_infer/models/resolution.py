"""The outcome of `resolve`, with the reason for every part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_infer.codec import Text
from edge_infer.config.plan import ModelPlan

Words = Annotated[str, Text(most=4000)]


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that was decided: ``what`` it is, its ``value`` in words, and ``why`` it is that."""

    what: str
    value: Words
    why: Words


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output; ``scale`` and ``zero_point`` are empty without quantization."""

    name: Words
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A model, ready to be loaded, and how it came about; ``notes`` are what the operator should know.

    ``inputs`` and ``outputs`` are as the runtime has them: a file may leave shapes open.
    """

    plan: ModelPlan
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[Words, ...] = ()
