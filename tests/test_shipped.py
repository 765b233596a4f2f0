"""What is shipped: the model package is what its script makes, and it finds the faces of the clip and nothing else."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import ModelPlan, PipelinePlan, SourcePlan
from edge_infer.readers.sources import make_source, source_target

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
PACKAGE = ROOT / "models" / "face-detect" / "1.0.0"
MODEL = PACKAGE / "face_full_range_int8.tflite"
DEMO = ROOT / "models" / "demo"
SMALLEST = 32  # pixels

Box = tuple[float, float, float, float]


def script(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def plan() -> ModelPlan:
    """The shipped model as a configuration's ``file`` would be resolved: probed, its golden input found."""
    return probe(ModelRequest("faces", str(MODEL)))


def test_the_package_says_what_it_is(plan: ModelPlan) -> None:
    assert (plan.title, plan.task, plan.decoder.kind, plan.labels) == (
        "face-detect@1.0.0", "detection", "blazeface", ("face",),
    )  # fmt: skip
    assert "Apache License" in (PACKAGE / "LICENCE").read_text()
    assert (PACKAGE / "PROVENANCE.md").is_file()
    assert (DEMO / "PROVENANCE.md").is_file()


def test_the_package_is_what_its_script_makes(tmp_path: Path) -> None:
    """Byte for byte, every time; the wheels come from the package index, or from the folder build/."""
    made = [tmp_path / str(number) for number in range(3)]
    for folder in made:
        script(SCRIPTS / "make-default-model", folder)
    for name in (MODEL.name, "manifest.yaml", "golden/astronaut.png"):
        contents = {(folder / "face-detect" / "1.0.0" / name).read_bytes() for folder in made}
        assert contents == {(PACKAGE / name).read_bytes()}, name


def test_the_clip_and_its_truth_are_what_their_script_makes(tmp_path: Path) -> None:
    """The truth byte for byte; the pictures but for what another encoder does."""
    script(SCRIPTS / "make-demo-clip", tmp_path)
    assert (tmp_path / "faces.truth.json").read_bytes() == (DEMO / "faces.truth.json").read_bytes()
    made, shipped = pictures(tmp_path / "faces.mp4"), pictures(DEMO / "faces.mp4")
    assert len(made) == len(shipped)
    for one, other in zip(made, shipped, strict=True):
        assert np.abs(one.astype(np.int16) - other).mean() < 4


def test_the_clip_may_be_shipped() -> None:
    assert (DEMO / "faces.mp4").stat().st_size < 2_000_000


def pictures(path: Path) -> list[Pixels]:
    clip = cv2.VideoCapture(str(path))
    found: list[Pixels] = []
    while True:
        there, pixels = clip.read()
        if not there:
            return found
        found.append(np.asarray(pixels, np.uint8))


@dataclass
class Count:
    """Faces of the truth that are large enough, those of them that were found, and findings where no face is."""

    wanted: int = 0
    found: int = 0
    invented: int = 0
    empty_frames: int = 0


def test_the_faces_of_the_clip_are_found_and_nothing_else(plan: ModelPlan) -> None:
    truth = json.loads((DEMO / "faces.truth.json").read_text())
    count = Count()
    pipeline = PipelinePlan("faces", "clip", plan, plan.threshold)
    options: dict[str, JsonValue] = {"file": str(DEMO / "faces.mp4"), "realtime": False}
    clip = make_source(SourcePlan("clip", "video", source_target("video"), live=False, network=False, options=options))
    with LoadedModel(pipeline) as model, clip:
        for expected in truth["frames"]:
            picture = clip.read()
            assert picture is not None, f"the clip ends before frame {expected['frame']}"
            frame = Frame(picture.pixels, picture.color, picture.wall, picture.monotonic, expected["frame"])
            findings = model.find(frame)
            assert isinstance(findings, Detections)
            judge(count, expected, [fractions(item.box, findings.source) for item in findings.objects])
        assert clip.read() is None
    assert count.wanted > 100
    assert count.empty_frames > 30
    assert count.found / count.wanted >= 0.95, count
    assert count.invented == 0, count


def judge(count: Count, expected: dict[str, Any], found: list[Box]) -> None:
    faces = [tuple(face["box"]) for face in expected["faces"] if face["px"] >= SMALLEST]
    anywhere = [tuple(face["box"]) for face in expected["faces"]] + [tuple(box) for box in expected["cut"]]
    count.wanted += len(faces)
    count.found += sum(any(overlap(face, box) > 0.5 for box in found) for face in faces)
    count.invented += sum(not any(overlap(face, box) > 0 for face in anywhere) for box in found)
    count.empty_frames += not anywhere


def fractions(box: Box, size: tuple[int, int]) -> Box:
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)
