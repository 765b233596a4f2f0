"""Models with several inputs: what is always the same, one frame in several ways, several sensors of one sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_infer.contract.codec import decode, encode
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.model.input_tensors import stored
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.image import ImagePreprocess
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Frame, Samples
from edge_infer.models.inspect.manifest_draft import draft
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, open_model, resolve
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, ModelPlan, PipelinePlan, SignalPlan
from tests.engine.summing import Entry, adding_model, summing_model

PICTURE, GRAY, SHIFT = Entry("picture", (1, 2, 2, 3)), Entry("gray", (1, 2, 2, 1)), Entry("shift", (1,))
RAW = "task: regression\ninput: {mean: 0, std: 1, resize: stretch, color: rgb}\n"
LEFT_BLUE = np.array([[[200, 0, 0]] * 4 + [[0, 0, 0]] * 4] * 4, np.uint8)
"""BGR, 8 wide and 4 high."""


def put(folder: Path, manifest: str, data: bytes) -> ModelRequest:
    path = folder / "sum.tflite"
    path.write_bytes(data)
    path.with_suffix(".yaml").write_text(manifest)
    return ModelRequest("sum", str(path))


def numbers(plan: ModelPlan, frame: Frame | Samples) -> list[list[float | None]]:
    with LoadedModel(PipelinePlan("p", "s", plan, 0.5)) as model:
        found = [model.find(each) for each in model.frames(frame)]
    assert all(isinstance(each, Measurement) for each in found)
    return [[value.value for value in each.values] for each in found]  # type: ignore[attr-defined]


def picture(pixels: np.ndarray) -> Frame:
    return Frame(pixels, "bgr", 0.0, 0.0, 1)


def filled(plan: InputPlan, channels: int) -> np.ndarray:
    """What the blue and black picture becomes in an input [1, 2, 2, channels] of its own."""
    tensor = Tensor("x", 0, (1, 2, 2, channels), "float32")
    into = np.zeros(tensor.shape, np.float32)
    ImagePreprocess(plan, tensor)(picture(LEFT_BLUE), into)
    return into


def test_a_constant_and_the_frame_in_another_way(tmp_path: Path) -> None:
    data = adding_model(PICTURE, SHIFT, GRAY, out=(1, 2, 2, 3))
    inputs = "inputs: {shift: {value: 1000}, gray: {resize: crop, std: 0.5}}\n"
    found = examine(put(tmp_path, RAW + inputs, data))
    assert [tensor.name for tensor in found.inputs] == ["picture", "shift", "gray"]
    reasons = {reason.what: reason.value for reason in found.reasons}
    assert reasons["input shift"] == "always 1000"
    assert reasons["input gray"] == "the picture, gray, crop"
    ((values),) = numbers(found.plan, picture(LEFT_BLUE))
    colored = filled(InputPlan("rgb", "stretch", (0.0,), (1.0,)), 3)
    gray = filled(InputPlan("gray", "crop", (0.0,), (0.5,)), 1)
    assert gray[0, 0, 0, 0] > gray[0, 0, 1, 0] > 0
    assert values == (colored + gray + 1000).reshape(-1).tolist()


def test_the_same_frame_twice(tmp_path: Path) -> None:
    data = adding_model(PICTURE, Entry("again", (1, 2, 2, 3)), out=(1, 2, 2, 3))
    colored = filled(InputPlan("rgb", "stretch", (0.0,), (1.0,)), 3)
    plan = resolve(put(tmp_path, RAW + "inputs: {again: {color: bgr}}\n", data))
    assert numbers(plan, picture(LEFT_BLUE)) == [(colored + colored[..., ::-1]).reshape(-1).tolist()]
    plan = resolve(put(tmp_path, RAW + "inputs: {picture: {}}\n", data))
    assert numbers(plan, picture(LEFT_BLUE)) == [(2 * colored).reshape(-1).tolist()]


def test_a_constant_of_many_numbers_in_any_depth(tmp_path: Path) -> None:
    data = adding_model(PICTURE, Entry("base", (1, 2, 1, 3)), out=(1, 2, 2, 3))
    plan = resolve(put(tmp_path, RAW + "inputs: {base: {value: [[[1, 2, 3]], [[4, 5, 6.5]]]}}\n", data))
    assert decode(ModelPlan, encode(plan)) == plan
    ((values),) = numbers(plan, picture(np.zeros((2, 2, 3), np.uint8)))
    assert values == [1, 2, 3, 1, 2, 3, 4, 5, 6.5, 4, 5, 6.5]


def test_a_constant_in_a_quantized_and_in_a_boolean_input() -> None:
    assert stored((0.5,), Tensor("x", 0, (1, 2), "int8", (0.25,), (-1,))).tolist() == [[1, 1]]
    assert stored((1, 0), Tensor("flags", 0, (2,), "bool")).tolist() == [True, False]
    assert stored((300, 512), Tensor("size", 0, (1, 2), "int64")).tolist() == [[300, 512]]
    with pytest.raises(ModelError, match=r"words \[1\] takes 1 numbers, not 2"):
        stored((1, 2), Tensor("words", 0, (1,), "float32"))
    with pytest.raises(ModelError, match="is of complex64, which takes no numbers"):
        stored((1,), Tensor("wave", 0, (1,), "complex64"))


def test_two_sensors_of_one_sample(tmp_path: Path) -> None:
    data = adding_model(Entry("acceleration", (1, 2, 3)), Entry("rotation", (1, 2, 1)), out=(1, 2, 3))
    manifest = (
        "task: regression\ninput: {features: raw, rate: 10, columns: [0, 1, 2]}\n"
        "inputs: {rotation: {columns: [4], mean: 1}}\n"
    )
    plan = resolve(put(tmp_path, manifest, data))
    assert isinstance(plan.input, SignalPlan)
    assert plan.input.width == 5
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)  # a sixth value goes nowhere
    found = numbers(plan, Samples(rows, 10.0, 0.0, 0.0, 1, gap=True))
    assert found[0] == [0 + 3, 1 + 3, 2 + 3, 6 + 9, 7 + 9, 8 + 9]
    assert len(found) == 3  # half a window on
    with pytest.raises(InputError, match="delivers 3 values at a time, but the model's `columns` go up to 4"):
        numbers(plan, Samples(rows[:, :3], 10.0, 0.0, 0.0, 1, gap=True))


def test_constants_beside_state(tmp_path: Path) -> None:
    data = adding_model(Entry("x", (1, 1)), Entry("before", (1, 1)), Entry("step", (1, 1)), out=(1, 1))
    manifest = (
        "task: regression\ninput: {features: raw, rate: 1}\nstate: {total1: before}\ninputs: {step: {value: 7}}\n"
    )
    with pytest.raises(ModelError, match=r"`state` is \{OUTPUT: INPUT\}; its outputs are total2"):
        resolve(put(tmp_path, manifest, data))
    manifest = manifest.replace("state: {total1: before}\ninputs: {", "inputs: {before: {value: 10}, ")
    plan = resolve(put(tmp_path, manifest, data))
    assert numbers(plan, Samples(np.array([[1], [2]], np.float32), 1.0, 0.0, 0.0, 1)) == [[18], [19]]


def test_a_draft_says_it_again_and_a_child_finds_the_same(tmp_path: Path) -> None:
    request = put(
        tmp_path,
        RAW + "inputs: {shift: {value: [0.5]}, gray: {resize: crop, std: [2]}}\n",
        adding_model(PICTURE, SHIFT, GRAY, out=(1, 2, 2, 3)),
    )
    found = examine(request)
    text = draft(open_model(request), found)
    assert "inputs: {shift: {value: 0.5}, gray: {resize: crop, std: 2}}" in text
    Path(request.file).with_suffix(".yaml").write_text(text)
    again = probe(request, tmp_path / "blobs")
    assert (again.input, again.further) == (found.plan.input, found.plan.further)
    gray = next(each.plan for each in again.further if each.name == "gray")
    assert isinstance(gray, InputPlan)
    assert (gray.color, gray.std, gray.mean) == ("gray", (2.0,), (0.0,))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            "",
            r"it has 3 inputs \(picture .*, shift .*, gray .*\), and `input` describes one; .*: {value: 0.5}",
        ),
        ("inputs: {shift: {value: 1}}", r"it has 2 inputs \(picture \[1, 2, 2, 3\], gray \[1, 2, 2, 1\]\)"),
        ("inputs: {shift: {value: [1, 2]}, gray: {}}", r"shift \[1\] takes 1 numbers, not 2"),
        ("inputs: {shift: {}, gray: {}}", r"input shift has the shape \[1\]; a picture needs"),
        ("inputs: {shift: {value: 1}, gray: {color: rgb}}", r"rgb \(manifest\) does not fit; expected gray"),
        (
            "inputs: {shift: {value: 1, std: 2}, gray: {}}",
            "shift: has a `value`, which is always the same, so no `std`",
        ),
        ("inputs: {shift: {value: 1}, gray: {rate: 2}}", "inputs: gray: rate: is not for models of pictures"),
        ("inputs: {shift: {value: 1}, grey: {}}", "inputs: grey: is not one of its inputs, picture, shift, gray"),
        ("inputs: {shift: {value: 1}, gray: {}, picture: {}}", "names all of its inputs; remove the one"),
        ("inputs: {shift: {value: .inf}}", "inputs.shift.value: expected a number, or a list"),
        ("inputs: {shift: {value: []}}", "expected a number, or a list of 1 to 65536, not 0"),
        ("inputs: {shift: 1}", "inputs.shift: expected keys"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, manifest: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(put(tmp_path, RAW + manifest + "\n", adding_model(PICTURE, SHIFT, GRAY, out=(1, 2, 2, 3))))


@pytest.mark.parametrize(
    ("columns", "further", "words"),
    [
        ("", "{columns: [3]}", "`columns` .* set it for all inputs, or for none"),
        ("columns: [0, 1, 2], ", "{columns: [3, 4]}", "takes windows of 1 samples of raw, and the main input"),
        ("columns: [0, 1], ", "{columns: [3]}", "has 3 values in each frame, but the manifest requires 2"),
        (
            "channels: 3, columns: [0, 1], ",
            "{columns: [3]}",
            r"names 2 values of a sample, but acceleration .* takes 3",
        ),
        ("columns: [0, 1, 1], ", "{columns: [3]}", "a list of different whole numbers, counted from 0"),
        (
            "columns: [0, 1, 2], ",
            "{columns: [3], rate: 5}",
            ("rotation: rate: belongs in `input`, which applies to all inputs"),
        ),
        ("columns: [0, 1, 2], ", "{columns: [3], resize: crop}", "resize: is not for models of sound and samples"),
        (
            "columns: [0, 1, 2], ",
            "{columns: [3], features: spectrum, window: 2s, hop: 1s, bins: 1}",
            "takes windows of 30 samples of spectrum, and the main input those of 2 of raw; all inputs",
        ),
    ],
)
def test_columns_that_do_not_fit_are_told(tmp_path: Path, columns: str, further: str, words: str) -> None:
    data = adding_model(Entry("acceleration", (1, 2, 3)), Entry("rotation", (1, 2, 1)), out=(1, 2, 3))
    manifest = f"task: regression\ninput: {{features: raw, {columns}rate: 10}}\ninputs: {{rotation: {further}}}\n"
    with pytest.raises(ModelError, match=words):
        resolve(put(tmp_path, manifest, data))


def test_outputs_that_nobody_needs_are_left_out(tmp_path: Path) -> None:
    """``twice`` and ``total`` come out; asked for by name, in any order."""
    manifest = "task: regression\ninput: {features: raw, rate: 1}\ninputs: {before: {value: 1}}\n"
    rows = Samples(np.array([[2]], np.float32), 1.0, 0.0, 0.0, 1)
    for outputs, wanted in (("", [3, 6]), ("[twice]", [6]), ("[twice, total]", [6, 3])):
        request = put(tmp_path, manifest + (f"outputs: {outputs}\n" if outputs else ""), summing_model())
        found = examine(request)
        assert decode(ModelPlan, encode(found.plan)) == found.plan
        assert numbers(found.plan, rows) == [wanted]
        assert (f"outputs: {outputs}" in draft(open_model(request), found)) == bool(outputs)
    for outputs, words in (
        ("[thrice]", "`outputs` names the unknown output thrice; its outputs are total, twice"),
        ("twice", "a list of"),
    ):
        with pytest.raises(ModelError, match=words):
            resolve(put(tmp_path, manifest + f"outputs: {outputs}\n", summing_model()))


def test_an_autoencoder_of_pictures(tmp_path: Path) -> None:
    data = adding_model(PICTURE, SHIFT, out=(1, 2, 2, 3))
    manifest = RAW.replace("regression", "anomaly\ndecoder: autoencoder\nthreshold: 1")
    plan = resolve(put(tmp_path, manifest + "inputs: {shift: {value: 3}}\n", data))
    with LoadedModel(PipelinePlan("p", "s", plan, 1.0)) as model:
        found = model.find(picture(LEFT_BLUE))
    assert isinstance(found, Deviation)
    assert found.score == 9
