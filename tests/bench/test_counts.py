"""What is counted a frame is the same each time, and its growth is told."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def counts(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("counts")


def test_the_same_each_time_and_less_where_less_is_said(counts: ModuleType) -> None:
    (model,) = counts.MODELS.values()
    change, every = counts.count(model, "change"), counts.count(model, "every")
    assert 100 < change["instructions"] < every["instructions"]
    assert 0 < change["calls"] < every["calls"]
    assert counts.count(model, "change") == pytest.approx(change, rel=0.02)


def test_growth_is_told(counts: ModuleType) -> None:
    before = {"instructions": 1000.0, "calls": 100.0}
    assert counts.grown(before, {"instructions": 1090.0, "calls": 50.0}) == []
    assert counts.grown(before, {"instructions": 1200.0, "calls": 100.0}) == [
        "instructions: 1200 a frame, +20% against 1000"
    ]
    assert counts.grown({}, before) == []
