"""Every public model of sound, sensors and values gives what its makers and the references say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.frames.frame import Samples
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan
from tests.cli.test_infer import infer
from tests.engine.sounds import (
    DIGITS,
    EVENTS,
    JOGGING,
    KEYWORDS,
    MACHINE,
    MACHINE_ERROR,
    MICRO_SPEECH,
    RESTING,
    SCORES,
    SINE,
    SINE_ERRORS,
    WAKE_WORD,
    motions,
    normal_machine,
    put,
)


def scores(found: dict[str, Any]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in found["classes"]}


def run(assets: Path, folder: Path, name: str, *inputs: Path, threshold: str = "0") -> list[dict[str, Any]]:
    code, found, errors = infer(put(assets, folder, name), *inputs, "--threshold", threshold)
    assert code == 0, errors
    assert [item["input"] for item in found] == list(map(str, inputs))
    return found


@pytest.mark.parametrize("name", [KEYWORDS, MICRO_SPEECH])
def test_keywords(assets: Path, tmp_path: Path, name: str) -> None:
    found = run(assets, tmp_path, name, *(assets / file for file, _, _ in SCORES[name]))
    for item, (_, label, score) in zip(found, SCORES[name], strict=True):
        assert scores(item)[label] == pytest.approx(score, abs=0.02)


def test_audio_events_without_a_manifest(assets: Path) -> None:
    code, found, _ = infer(assets / "models" / EVENTS, *(assets / file for file, _, _ in SCORES[EVENTS]))
    assert code == 0
    assert list(scores(found[0])) == ["Speech"]
    for item, (_, label, score) in zip(found, SCORES[EVENTS], strict=True):
        assert next(iter(scores(item))) == label
        assert scores(item)[label] == pytest.approx(score, abs=0.02)


def test_a_wake_word_that_nobody_says(assets: Path, tmp_path: Path) -> None:
    (found,) = run(assets, tmp_path, WAKE_WORD, assets / "audio" / "speech.wav")
    assert scores(found)["alexa"] == pytest.approx(0.0, abs=0.05)


def test_a_machine_that_runs_as_it_should(assets: Path, tmp_path: Path) -> None:
    path = tmp_path / "normal.npy"
    np.save(path, normal_machine(assets))
    (found,) = run(assets, tmp_path, MACHINE, path, threshold="12")
    assert found["anomaly"]["score"] == pytest.approx(MACHINE_ERROR, rel=0.002)
    assert found["anomaly"]["state"] == "normal"


def test_its_windows_one_by_one(assets: Path, tmp_path: Path) -> None:
    with loaded(assets, tmp_path, MACHINE) as model:
        frames = list(model.frames(Samples(normal_machine(assets), 31.25, 0.0, 0.0, 1, gap=True)))
        found = [model.find(frame) for frame in frames]
    distances = [each.score for each in found if isinstance(each, Deviation)]
    assert len(distances) == 196
    assert np.mean(distances) == pytest.approx(MACHINE_ERROR, rel=0.002)


@pytest.mark.parametrize(("spike", "least"), [(0.0, 0.0), (200.0, 500.0), (1e30, 1e57)])
def test_beyond_the_range_of_its_input_the_score_still_grows(
    assets: Path, tmp_path: Path, spike: float, least: float
) -> None:
    """The input tensor ends at 14.9; the model sees no more, but the score is that of the samples."""
    rows = normal_machine(assets)[:7].copy()
    rows[2, ::10] += spike
    with loaded(assets, tmp_path, MACHINE) as model:
        found = [model.find(frame) for frame in model.frames(Samples(rows, 31.25, 0.0, 0.0, 1, gap=True))]
        interpreter, wanted = model.interpreter, []
        into, out = interpreter.inputs[0], interpreter.outputs[0]
        for start in range(3):
            real = rows[start : start + 5].astype(np.float64)
            stored = np.rint(real / into.scale[0]) + into.zero_point[0]
            interpreter.input()[...] = np.clip(stored, -128, 127).reshape(into.shape)
            made = out.scale[0] * (interpreter.invoke()[0].astype(np.float64) - out.zero_point[0])
            wanted.append(np.mean((made.reshape(-1) - real.reshape(-1)) ** 2))
    assert [each.score for each in found if isinstance(each, Deviation)] == pytest.approx(wanted, rel=1e-5)
    assert min(wanted) >= least


@pytest.mark.parametrize(
    ("name", "motion", "activity"), [(JOGGING, "Running", "Jogging"), (RESTING, "Standing", "Stationary")]
)
def test_what_people_do(assets: Path, tmp_path: Path, name: str, motion: str, activity: str) -> None:
    recordings = [values for label, values in motions(assets) if label == motion]
    files = []
    for number, values in enumerate(recordings):
        files.append(tmp_path / f"{number}.csv")
        rows = [",".join(f"{value:.6f}" for value in row) for row in values[:24]]
        files[-1].write_text("\n".join(["x,y,z", *rows, ""]))
    found = run(assets, tmp_path, name, *files)
    assert [next(iter(scores(item))) for item in found] == [activity] * 10


def test_a_sine(assets: Path, tmp_path: Path) -> None:
    points = np.linspace(0, 6.28, 50, dtype=np.float32)  # the known errors are those of a grid that ends there
    with loaded(assets, tmp_path, SINE) as model:
        frames = model.frames(Samples(points[:, np.newaxis], 1.0, 0.0, 0.0, 1, gap=True))
        found = [model.find(frame) for frame in frames]
    values = [each.values[0].value for each in found if isinstance(each, Measurement)]
    differences = np.abs(np.array(values, np.float64) - np.sin(points))
    most, mean = SINE_ERRORS
    assert differences.max() == pytest.approx(most, abs=0.0005)
    assert differences.mean() == pytest.approx(mean, abs=0.0005)


def test_a_digit(assets: Path, tmp_path: Path) -> None:
    (found,) = run(assets, tmp_path, DIGITS, assets / "images" / "mnist_nine.bmp")
    assert next(iter(scores(found))) == "9"
    assert scores(found)["9"] > 0.9


def test_recordings_that_cannot_be_used_are_told_and_the_others_are_done(assets: Path, tmp_path: Path) -> None:
    short, wide, nan = tmp_path / "short.npy", tmp_path / "wide.npy", tmp_path / "nan.npy"
    np.save(short, np.zeros((23, 3), np.float32))
    np.save(wide, np.zeros((24, 6), np.float32))
    np.save(nan, np.full((24, 3), np.nan, np.float32))
    good = tmp_path / "good.npy"
    np.save(good, np.zeros((24, 3), np.float32))
    code, found, errors = infer(put(assets, tmp_path, JOGGING), short, wide, nan, good)
    assert code == 1
    assert [item["input"] for item in found] == [str(good)]
    assert f"edge-infer: {short}: it is too short; the model takes 24 samples at once" in errors
    assert "samples dropped, because their values are not finite" in errors
    assert f"edge-infer: {wide}: the source delivers 6 values at a time and the model takes 3" in errors


def loaded(assets: Path, folder: Path, name: str) -> LoadedModel:
    plan = resolve(ModelRequest("m", str(put(assets, folder, name))))
    return LoadedModel(PipelinePlan("p", "s", plan, plan.threshold))


def test_what_is_found_window_by_window_is_a_classification_each(assets: Path, tmp_path: Path) -> None:
    with loaded(assets, tmp_path, JOGGING) as model:
        (_, values) = motions(assets)[0]
        found = [model.find(frame) for frame in model.frames(Samples(values, 10.0, 0.0, 0.0, 1, gap=True))]
    assert len(found) == 7
    assert all(isinstance(each, ClassificationFindings) for each in found)
