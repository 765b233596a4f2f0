"""What is counted a frame is the same each time, and its growth is an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

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
    before = {"a": {"instructions": 1000.0, "calls": 100.0}}
    assert counts.grown(before, {"a": {"instructions": 1090.0, "calls": 50.0}}) == []
    assert counts.grown(before, {"a": {"instructions": 1200.0, "calls": 100.0}, "b": {"calls": 1.0}}) == [
        "a: 1200 instructions a frame, +20% against 1000"
    ]
    assert counts.grown({}, before) == []


def test_the_script_fails_on_growth_until_it_is_accepted(
    counts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noted = tmp_path / "counts.json"
    noted.write_text(json.dumps({counts.VERSION: {title: {"calls": 1.0} for title in counts.count_shipped()}}))
    monkeypatch.setattr(counts, "NOTED", noted)
    monkeypatch.delenv("EDGE_INFER_ASSETS", raising=False)
    monkeypatch.setattr(sys, "argv", ["counts.py"])
    assert counts.main() == 1
    assert "error: the shipped face detector, 320x240, publish: change: " in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["counts.py", "--write"])
    assert counts.main() == 0
    monkeypatch.setattr(sys, "argv", ["counts.py"])
    assert counts.main() == 0


def test_a_frame_of_the_shipped_model_takes_no_more_than_noted(counts: ModuleType) -> None:
    problems = counts.grown(_noted(counts), counts.count_shipped())
    assert not problems, "\n".join(problems)


def test_a_frame_of_a_fast_public_model_takes_no_more_than_noted(counts: ModuleType, assets: Path) -> None:
    problems = counts.grown(_noted(counts), counts.count_public(assets))
    assert not problems, "\n".join(problems)


def _noted(counts: ModuleType) -> Any:
    """The stored counts; another version of Python has other instructions."""
    noted = counts.noted()
    return noted or pytest.skip(f"no counts of frames are noted for Python {counts.VERSION}")
