"""Files that leave the size of their input open: the manifest says it, and the input is made that large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_infer.contract.codec import decode, encode
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.pose import Poses
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame, Samples
from edge_infer.models.inspect.manifest_draft import draft
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, open_model, resolve
from edge_infer.plan.records import ModelPlan, PipelinePlan
from tests.engine.summing import Entry, adding_model, lifting_model

SIZED = "input: {size: 320x256, std: 2550}\n"


def put(folder: Path, manifest: str, data: bytes) -> ModelRequest:
    path = folder / "open.tflite"
    path.write_bytes(data)
    path.with_suffix(".yaml").write_text(manifest)
    return ModelRequest("open", str(path))


def six_bodies() -> np.ndarray:
    """A body at (0.5, 0.3) and a free place for five more; as MoveNet's multi-pose model has them."""
    rows = np.zeros((1, 6, 56), np.float32)
    rows[0, 0, :51] = np.tile([0.3, 0.5, 0.8], 17)
    rows[0, 0, 51:] = (0.2, 0.4, 0.4, 0.6, 0.75)
    return rows


def movenet(*shape: int) -> bytes:
    return lifting_model(Entry("image", shape), six_bodies())


def test_a_multi_pose_file_of_an_open_size(tmp_path: Path) -> None:
    request = put(tmp_path, SIZED, movenet(1, -1, -1, 3))
    found = examine(request)
    assert found.plan.decoder.kind == "movenet"
    assert found.inputs[0].shape == (1, 256, 320, 3)
    assert found.plan.shapes == (("image", (1, 256, 320, 3)),)
    assert decode(ModelPlan, encode(found.plan)) == found.plan
    with LoadedModel(PipelinePlan("p", "s", found.plan, 0.3)) as model:
        white = Frame(np.full((256, 320, 3), 255, np.uint8), "bgr", 0.0, 0.0, 1)
        bodies = model.find(white)
    assert isinstance(bodies, Poses)
    (body,) = bodies.bodies
    # A white picture lifts every number by 255 / 2550; points are pixels of the frame.
    assert body.score == pytest.approx(0.85, abs=1e-3)
    assert body.points[0][:2] == pytest.approx((0.6 * 320, 0.4 * 256), abs=0.1)
    text = draft(open_model(request), found)
    assert 'size: "320x256"' in text
    Path(request.file).with_suffix(".yaml").write_text(text)
    assert resolve(request).shapes == found.plan.shapes


@pytest.mark.parametrize(
    ("shape", "manifest", "words"),
    [
        ((1, -1, -1, 3), "", r"image \[1, \?, \?, 3\] leaves height and width open; .*`input: {size: 256x256}`"),
        ((1, -1, -1, 3), "input: {size: 320x250}", "sides that are multiples of 32, not 320x250"),
        ((1, -1, 64, 3), "input: {size: 320x256}", r"size: 320x256, but its input is image \[1, \?, 64, 3\]"),
        ((1, 64, 64, 3), "input: {size: 320x256}", r"image \[1, 64, 64, 3\] has a fixed size"),
        ((1, -1, -1, -1), "input: {size: 320x256}", "leaves more open than the height and width"),
        ((1, -1, -1, 3), "input: {size: 320}", "WIDTHxHEIGHT with both between 16 and 8192"),
    ],
)
def test_sizes_that_are_missing_or_wrong(tmp_path: Path, shape: tuple[int, ...], manifest: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(put(tmp_path, (manifest or "task: pose") + "\n", movenet(*shape)))


def test_a_size_that_is_fixed_may_be_said_and_a_batch_may_be_open(tmp_path: Path) -> None:
    assert resolve(put(tmp_path, "input: {size: 64x32}\n", movenet(1, 32, 64, 3))).shapes == ()
    assert resolve(put(tmp_path, "task: pose\n", movenet(-1, 32, 64, 3))).shapes == ()


def test_a_signal_of_an_open_length(tmp_path: Path) -> None:
    data = adding_model(Entry("wave", (1, -1)), Entry("more", (1, 1)), out=(1, 1))
    said = "task: regression\ninput: {features: raw, rate: 1LENGTH}\ninputs: {more: {value: 2}}\n"
    plan = resolve(put(tmp_path, said.replace("LENGTH", ", length: 3"), data))
    with LoadedModel(PipelinePlan("p", "s", plan, 0.5)) as model:
        rows = np.array([[1], [2], [3]], np.float32)
        (window,) = model.frames(Samples(rows, 1.0, 0.0, 0.0, 1))
        model.feed(window)
        assert model.interpreter.invoke()[0].tolist() == [[3, 4, 5]]
    with pytest.raises(ModelError, match=r"wave \[1, \?\] leaves its length open; .*`input: {length: 128}`"):
        resolve(put(tmp_path, said.replace("LENGTH", ""), data))


def test_only_what_is_open_is_made_another_size() -> None:
    with pytest.raises(ModelError, match="cannot load it"):
        Interpreter(movenet(1, 32, 64, 3), shapes=(("image", (1, 64, 64, 3)),))
