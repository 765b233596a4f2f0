"""Decoders over recorded outputs of real models (see ``tests/golden/README.md``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.decoders.classification import Classification
from edge_infer.engine.decoders.movenet import MoveNet
from edge_infer.engine.decoders.segmentation import Segmentation
from edge_infer.engine.decoders.ssd_postprocess import SsdPostprocess
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Candidates
from edge_infer.engine.tasks.detection import Detection, Detections, DetectionTask
from edge_infer.frames.geometry import Transform
from tests.engine.plans import pipeline

GOLDEN = Path(__file__).parents[2] / "golden"
SSD = tuple(
    Tensor(f"TFLite_Detection_PostProcess{end}", index, shape, "float32")
    for index, (end, shape) in enumerate((("", (1, 10, 4)), (":1", (1, 10)), (":2", (1, 10)), (":3", (1,))))
)
FACES = (
    Tensor("reshaped_regressor_face_4", 0, (1, 2304, 16), "int8", (0.7547328472137451,), (-41,)),
    Tensor("reshaped_classifier_face_4", 1, (1, 2304, 1), "int8", (0.08001429587602615,), (88,)),
)
BODY = (Tensor("StatefulPartitionedCall:0", 0, (1, 1, 17, 3), "float32"),)
PLACES = (Tensor("ArgMax", 0, (1, 513, 513), "int64"),)
CLASSES = (Tensor("MobilenetV1/Predictions/Reshape_1", 0, (1, 1001), "uint8", (0.00390625,), (0,)),)


def recorded(name: str) -> list[NDArray[np.generic]]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return [file[str(index)] for index in range(len(file.files))]


def layout(size: int, outputs: tuple[Tensor, ...], labels: int, threshold: float) -> Layout:
    return Layout((Tensor("input", 0, (1, size, size, 3), "uint8"),), outputs, labels, threshold)


def objects(candidates: Candidates, transform: Transform, threshold: float) -> tuple[Detection, ...]:
    findings = DetectionTask(pipeline(names=(), threshold=threshold))(candidates, transform, 0.0)
    assert isinstance(findings, Detections)
    return findings.objects


def test_ssd_postprocess() -> None:
    candidates = SsdPostprocess(layout(300, SSD, 90, 0.4))(recorded("ssd_postprocess"))
    found = objects(candidates, Transform.fit((640, 480), (300, 300), "stretch"), 0.4)
    wanted = {86: (342, 249, 586, 416), 66: (25, 112, 621, 449), 46: (67, 209, 203, 378), 83: (194, 131, 413, 216)}
    assert {item.class_id for item in found} == set(wanted)
    for item in found:
        assert item.box == pytest.approx(wanted[item.class_id], abs=12)
        assert item.score == pytest.approx(0.46, abs=0.05)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


def test_blazeface() -> None:
    candidates = BlazeFace(layout(192, FACES, 1, 0.5))(recorded("blazeface"))
    assert len(candidates.scores) > 1, "neighbouring cells see the same face"
    (face,) = objects(candidates, Transform.fit((512, 512), (192, 192), "letterbox"), 0.5)
    assert face.score == pytest.approx(0.94, abs=0.02)
    assert face.box == pytest.approx((171, 67, 278, 173), abs=4)


def test_movenet() -> None:
    """The points are those of the public reference that comes with the model (knees, ankles and the nose of it)."""
    bodies = MoveNet(layout(192, BODY, 1, 0.3))(recorded("movenet"))
    assert bodies.scores == pytest.approx([0.69], abs=0.02)
    wanted = {0: (0.589, 0.332), 13: (0.577, 0.644), 14: (0.411, 0.672), 15: (0.526, 0.826), 16: (0.328, 0.901)}
    for point, place in wanted.items():
        assert bodies.points[0, point, :2] == pytest.approx(place, abs=0.03)


def test_segmentation() -> None:
    """The shares are those of the public map that comes with the picture: background, horse, person."""
    regions = Segmentation(layout(513, PLACES, 21, 0.01))(recorded("segmentation"))
    numbers, counts = np.unique(regions.classes, return_counts=True)
    assert numbers.tolist() == [0, 13, 15]
    assert counts / regions.classes.size == pytest.approx([0.379, 0.286, 0.335], abs=0.02)


def test_classification() -> None:
    decode = Classification(layout(128, CLASSES, 1000, 0.1))
    scores = decode(recorded("classification")).scores
    assert scores.size == 1000, "the background has no label"
    assert int(scores.argmax()) == 933, "cheeseburger"
    assert scores.max() == pytest.approx(0.96, abs=0.05)
    assert scores.sum() == pytest.approx(1, abs=0.05)
