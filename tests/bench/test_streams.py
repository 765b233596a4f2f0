"""Many streams against one: everything runs and is told; of the figures only the sense is looked at."""

from __future__ import annotations

import json
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"


@pytest.fixture(scope="module")
def streams() -> ModuleType:
    spec = util.spec_from_file_location("streams", ROOT / "benchmarks" / "streams.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["streams"] = module
    spec.loader.exec_module(module)
    return module


def test_all_streams_have_outcomes_in_every_way(
    streams: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--streams", "3", "--fps", "20", "--seconds", "1", "--rounds", "1", "--json", str(tmp_path / "found"))
    assert streams.main(["--models", str(MODEL.parent), "--file", MODEL.name, *words]) == 0
    (found,) = json.loads((tmp_path / "found").read_text())
    assert found["alone"] > 0
    for way in ("turns", "kernel", "first"):
        assert len(found[way]["rates"]) == 3
        assert all(0 < rate < 30 for rate in found[way]["rates"])
        assert all(0 < age < 1e4 for age in found[way]["ages"])
    assert "by turns" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_told(
    streams: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert streams.main(["--models", str(tmp_path), "--file", "x.tflite"]) == 2
    assert f"there is no x.tflite below {tmp_path}" in capsys.readouterr().err
