"""One outcome for a whole recording, and how recordings are read."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_infer.engine.input.recording import Average, find_in_recording, read_recording
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.records import Boxes, Classes, Distance, Numbers
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import InputError, ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan, SignalPlan
from tests.engine.sounds import stretches
from tests.engine.summing import summing_model

SOUND = SignalPlan("waveform", 16000)
BOXES = Boxes(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_mean_of_scores_distances_and_values() -> None:
    scores, distances, values = Average(), Average(), Average()
    for index in range(4):
        scores.add(Classes(array(0.25 * index, 1.0)))
        distances.add(Distance(float(index)))
        values.add(Numbers(array(index, -index), nonfinite=1))
    found = scores.mean()
    assert isinstance(found, Classes)
    assert found.scores.tolist() == [0.375, 1.0]
    assert found.scores.dtype == np.float32
    assert distances.mean() == Distance(1.5)
    numbers = values.mean()
    assert isinstance(numbers, Numbers)
    assert (numbers.values.tolist(), numbers.nonfinite) == ([1.5, -1.5], 4)


def test_one_window_is_what_it_is_and_of_boxes_there_is_no_mean() -> None:
    average = Average()
    average.add(BOXES)
    assert average.mean() is BOXES
    with pytest.raises(ModelError, match="only classifications, anomalies and values have one outcome"):
        average.add(BOXES)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[LoadedModel]:
    """Twice the sum of all that went in."""
    path = tmp_path / "sum.tflite"
    path.write_bytes(summing_model())
    path.with_suffix(".yaml").write_text(
        "task: regression\ninput: {features: raw, rate: 10}\nstate: {total: before}\nvalues: [{name: sum}]\n"
    )
    with LoadedModel(PipelinePlan("p", "s", resolve(ModelRequest("sum", str(path))), 0.5)) as loaded:
        yield loaded


def value(model: LoadedModel, rows: np.ndarray, rate: float = 10) -> float | None:
    findings, _ = find_in_recording(model, stretches(rows, rate), "rows.npy")
    assert isinstance(findings, Measurement)
    return findings.values[0].value


def test_every_recording_begins_anew(model: LoadedModel) -> None:
    rows = array(1, 2, 3)[:, np.newaxis]
    assert value(model, rows) == pytest.approx((2 + 6 + 12) / 3)
    assert value(model, rows) == pytest.approx((2 + 6 + 12) / 3)


def test_the_end_of_a_resampled_recording_counts_too(model: LoadedModel) -> None:
    """Ones stay ones at any rate: the values are 2, 4, 6 … for as many samples as its seconds have."""
    for rate, count in ((20, 40), (5, 10), (12, 24)):
        assert value(model, np.ones((count, 1), np.float32), rate) == pytest.approx(21.0, rel=1e-5)


def test_too_short_a_recording_is_told(model: LoadedModel) -> None:
    with pytest.raises(InputError, match=r"rows\.npy: it is too short; the model takes 1 sample at once"):
        value(model, np.empty((0, 1), np.float32))


def test_a_csv_file_has_the_rate_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "shaft.csv"
    path.write_text("x;y\n" + "".join(f"{row};{row + 0.5}\n" for row in range(100)))
    found = list(read_recording(str(path), SignalPlan("raw", 25, channels=2)))
    rows = np.concatenate([part.values for part in found])
    assert rows.tolist() == [[row, row + 0.5] for row in range(100)]
    assert {part.rate for part in found} == {25}
    assert [part.gap for part in found] == [True] + [False] * (len(found) - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_an_array_is_read_in_parts(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "long.npy"
    np.save(path, (np.arange(70_000) % 1000).astype(dtype))
    found = list(read_recording(str(path), SignalPlan("raw", 100)))
    assert [len(part.values) for part in found] == [32768, 32768, 4464]
    assert np.concatenate([part.values for part in found])[:, 0].tolist() == [n % 1000 for n in range(70_000)]


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("uint8", [0, 128, 192]), ("int8", [-128, 0, 64]), ("int16", [-32768, 0, 16384]), ("int32", [-(2**31), 0, 2**30])],
)
def test_integers_of_sound_have_the_full_scale_of_their_type(tmp_path: Path, dtype: str, stored: list[int]) -> None:
    path = tmp_path / "sound.npy"
    np.save(path, np.array(stored, dtype))
    for plan, wanted in ((SOUND, [-1.0, 0.0, 0.5]), (SignalPlan("spectrum", 100), stored)):
        (found,) = read_recording(str(path), plan)
        assert found.values[:, 0].tolist() == wanted


def test_a_wav_file_has_its_own_rate(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([[0, 16384], [-32768, 8192]] * 4000, "<i2").tobytes())
    found = list(read_recording(str(path), SOUND))
    assert {part.rate for part in found} == {8000}
    assert np.concatenate([part.values for part in found])[:2].tolist() == [[0.0, 0.5], [-1.0, 0.25]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.wav", None, "does not exist"),
        ("gone.csv", None, "does not exist"),
        ("gone.npy", None, "No such file"),
        ("empty.wav", b"", "not a WAV file"),
        ("text.wav", b"nothing to hear", "not a WAV file"),
        ("empty.csv", b"", "no usable row of numbers"),
        ("words.csv", b"a,b\nc,d\n", "no usable row of numbers: no numbers in 'c, d'"),
        ("empty.npy", b"", "not a readable NumPy array"),
        ("text.npy", b"nothing", "not a readable NumPy array"),
        ("clip.mp3", b"", r"takes a signal; use a \.wav, \.csv or \.npy"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_name(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        list(read_recording(str(path), SOUND))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("values", [np.zeros((2, 2, 2)), np.zeros(0), np.array(["a"]), np.array(1.0)])
def test_arrays_that_are_no_signal(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "odd.npy", values)
    with pytest.raises(InputError, match=r"a signal is \[samples\] or \[samples, channels\]"):
        list(read_recording(str(tmp_path / "odd.npy"), SOUND))
