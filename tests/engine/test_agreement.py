"""The same comparisons that ``scripts/agreement`` and ``scripts/families`` print."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from edge_infer.engine.interpreter import backend_name

SCRIPTS = str(Path(__file__).parents[2] / "scripts")


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    sys.path.insert(0, SCRIPTS)
    yield
    sys.path.remove(SCRIPTS)


@pytest.fixture(scope="module")
def reference_runtime() -> None:
    """Coarsely quantized detectors find other things in another runtime's kernels, from the very same bytes."""
    if "litert" not in backend_name():
        pytest.skip("the reference outcomes were made with ai-edge-litert, whose kernels round otherwise")


@pytest.fixture(scope="module")
def references(scripts: None) -> ModuleType:
    return import_module("references")


@pytest.fixture(scope="module")
def expected(scripts: None) -> ModuleType:
    return import_module("expected")


@pytest.mark.long
@pytest.mark.usefixtures("reference_runtime")
def test_detectors_agree_with_the_references(references: ModuleType, assets: Path) -> None:
    found = list(references.detections(assets))
    assert references.enough(found), "\n".join([one.summary + str(one.remarks) for one in found])
    assert sum(one.rows for one in found) == 94


@pytest.mark.long
@pytest.mark.usefixtures("reference_runtime")
def test_scaled_as_fast_as_a_camera_needs_they_still_do_by_and_large(references: ModuleType, assets: Path) -> None:
    found = list(references.detections(assets, "fast"))
    assert sum(one.agreeing for one in found) >= 0.85 * 94
    assert sum(one.additional for one in found) <= 0.1 * 94


def test_classifiers_agree_with_what_is_known_of_them(references: ModuleType, assets: Path) -> None:
    found = list(references.classes(assets))
    assert sum(one.rows for one in found) == 12
    assert [remark for one in found for remark in one.remarks] == []


@pytest.mark.long
def test_every_public_model_does_what_is_expected_of_it(expected: ModuleType, assets: Path) -> None:
    found = list(expected.rows(assets))
    assert [row.file for row in found] == sorted(path.name for path in (assets / "models").glob("*.tflite"))
    assert [row for row in found if row.agrees is not True] == []
    refused = next(row for row in found if row.file == "person_detect.tflite")
    assert "has a quantization dimension of 3" in refused.got


def test_an_outcome_that_is_not_the_expected_one_is_told(expected: ModuleType, assets: Path) -> None:
    """The table can say no: another label, another number of objects, a score that is off, a model that is refused."""
    words = expected.Scores((("audio/yes_1000ms.wav", "no", 0.9),), 0.02)(assets, expected.sounds.MICRO_SPEECH)
    assert not words.agrees
    assert "(best: yes " in words.got
    assert not expected.bus(person=2)(assets, "yolov5n-int8.tflite").agrees
    assert not expected.refused(assets, expected.MOODS).agrees


@pytest.mark.parametrize("name", ["agreement", "families"])
def test_the_commands_run_on_the_python_of_the_product(name: str, tmp_path: Path) -> None:
    words = ["/usr/bin/python3", f"{SCRIPTS}/{name}", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("name the folder of public test models, or set EDGE_INFER_ASSETS\n")
