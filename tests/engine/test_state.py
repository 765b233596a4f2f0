"""Models that hand something from one run to the next."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_infer.engine.interpreter import Interpreter, Tensor
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Samples
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan
from tests.engine.sounds import WAKE_WORD, put, sound, stretches
from tests.engine.summing import remembering_model, summing_model

STATE = "task: regression\ninput: {features: raw, rate: 1}\nstate: {total: before}\n"


def put_model(folder: Path, manifest: str, data: bytes | None = None) -> ModelRequest:
    path = folder / "sum.tflite"
    path.write_bytes(data or summing_model())
    path.with_suffix(".yaml").write_text(manifest)
    return ModelRequest("sum", str(path))


def values(model: LoadedModel, numbers: list[float], *, gap: bool = False) -> list[float]:
    rows = np.array(numbers, np.float32)[:, np.newaxis]
    found = [model.find(frame) for frame in model.frames(Samples(rows, 1.0, 0.0, 0.0, 1, gap))]
    assert all(isinstance(each, Measurement) for each in found)
    return [each.values[0].value for each in found]  # type: ignore[attr-defined]


def test_declared_state_is_carried_and_is_nothing_else(tmp_path: Path) -> None:
    plan = resolve(put_model(tmp_path, STATE))
    assert plan.state == (("total", "before"),)
    assert [value.name for value in plan.values] == ["value"]
    with LoadedModel(PipelinePlan("p", "s", plan, 0.5)) as model:
        assert [tensor.name for tensor in model.interpreter.inputs] == ["x"]
        assert [tensor.name for tensor in model.interpreter.outputs] == ["twice"]
        assert values(model, [1, 2, 3]) == [2, 6, 12]
        assert values(model, [4]) == [20]
        assert values(model, [5, 6], gap=True) == [10, 22]


def test_the_run_at_the_start_is_no_value_to_compare_with(tmp_path: Path) -> None:
    manifest = f"{STATE}values: [{{name: sum, step: 100, max_rate: 0.001}}]\n"
    with LoadedModel(PipelinePlan("p", "s", resolve(put_model(tmp_path, manifest)), 0.5)) as model:
        (frame,) = model.frames(Samples(np.array([[7.0]], np.float32), 1.0, 0.0, 0.0, 1))
        found = model.find(frame)
    assert isinstance(found, Measurement)
    assert found.values[0].value == 14.0


def test_a_model_of_whole_sequences_begins_each_picture_without_memory(assets: Path) -> None:
    interpreter = Interpreter((assets / "models" / "keras_lstm_mnist_ptq.tflite").read_bytes())
    given = np.random.default_rng(1).random(interpreter.inputs[0].shape, np.float32)
    told = []
    for picture in (given, given, np.zeros_like(given), given):
        interpreter.inputs[0].store(picture, interpreter.input())
        told.append(interpreter.invoke()[0].copy())
    assert np.array_equal(told[0], told[1])
    assert np.array_equal(told[0], told[3])
    assert not np.array_equal(told[0], told[2])


@pytest.mark.parametrize("rate", [0.1, 20.0, 400.0])
def test_without_a_rate_a_model_that_remembers_gets_every_sample(tmp_path: Path, rate: float) -> None:
    plan = resolve(put_model(tmp_path, "task: regression\ninput: {features: raw}\nstate: {total: before}\n"))
    with LoadedModel(PipelinePlan("p", "s", plan, 0.5)) as model:
        rows = np.arange(1, 201, dtype=np.float32)[:, np.newaxis]
        found = [model.find(frame) for frame in model.frames(Samples(rows, rate, 0.0, 0.0, 1))]
    assert len(found) == 200
    assert isinstance(found[-1], Measurement)
    assert found[-1].values[0].value == 40200


def test_variables_of_its_own_begin_again_at_a_gap(tmp_path: Path) -> None:
    request = put_model(tmp_path, "task: regression\ninput: {features: raw, rate: 1}\n", remembering_model(100.0))
    with LoadedModel(PipelinePlan("p", "s", resolve(request), 0.5)) as model:
        assert values(model, [1, 2]) == [101, 103]
        assert values(model, [3]) == [106]
        assert values(model, [1, 2], gap=True) == [101, 103]


def test_without_a_word_about_it_several_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"2 inputs \(x \[1, 1\], before \[1, 1\]\).*`state: \{OUTPUT: INPUT\}`"):
        resolve(put_model(tmp_path, "task: regression\ninput: {features: raw}\n"))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("{total: behind}", "its outputs are total, twice, its inputs x, before"),
        ("{sum: before}", "its outputs are total, twice"),
        ("[total]", "state: expected {OUTPUT: INPUT}"),
    ],
)
def test_state_that_does_not_fit_is_refused(tmp_path: Path, state: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(put_model(tmp_path, f"task: regression\ninput: {{features: raw}}\nstate: {state}\n"))


def test_what_went_in_comes_back_as_a_copy() -> None:
    interpreter = Interpreter(summing_model(), state=(("total", "before"),))
    interpreter.echo = (0,)
    interpreter.input()[...] = 3
    out, given = interpreter.invoke()
    assert (out.item(), given.item()) == (6, 3)
    interpreter.close()
    interpreter.close()


def test_numbers_of_one_tensor_go_into_one_of_another_scale() -> None:
    half = Tensor("half", 0, (1, 3), "int8", (0.5,), (1,))
    view = np.zeros((1, 3), np.int8)
    half.store(np.array([1.0, 0.3, 1000.0]), view)
    assert view.tolist() == [[3, 2, 127]]


def test_a_wake_word_is_forgotten_at_a_gap(assets: Path, tmp_path: Path) -> None:
    """The model keeps state in variables of its own: the same sound gives the same scores only from the beginning."""
    plan = resolve(ModelRequest("alexa", str(put(assets, tmp_path, WAKE_WORD))))
    assert plan.sha256 == hashlib.sha256((assets / "models" / WAKE_WORD).read_bytes()).hexdigest()
    speech = sound(assets, "speech.wav")
    with LoadedModel(PipelinePlan("p", "s", plan, 0.0)) as model:
        first = raw_scores(model, speech)
        assert raw_scores(model, speech) == first
        interrupted = raw_scores(model, np.concatenate([speech[16000:], speech]), gap=False)
    assert len(first) == (len(speech) // 160 - 2) // 3
    assert interrupted != first
    assert max(first) < 0.5  # nobody says Alexa


def raw_scores(model: LoadedModel, signal: np.ndarray, *, gap: bool = True) -> list[float]:
    """Scores of the word, every 30 ms."""
    (part,) = stretches(signal, 16000)
    part = Samples(part.values, part.rate, part.wall, part.monotonic, 1, gap)
    found = [model.look(frame)[0] for frame in model.frames(part)]
    return [float(each.scores[1]) for each in found]  # type: ignore[union-attr]
