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
class Resolution:
    """A model, ready to be loaded, and how it came about; ``notes`` are what the operator should know."""

    plan: ModelPlan
    reasons: tuple[Reason, ...]
    notes: tuple[Words, ...] = ()
