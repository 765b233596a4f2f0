"""No public file of this family may be used: the decoder is compared with the published formula, written once more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolov8 import Yolov8
from edge_infer.engine.decoders.yolov8_pose import Yolov8Pose
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

WIDTH, HEIGHT, CELLS = 64, 32, 42  # 8 * 4 + 4 * 2 + 2 * 1
PICTURE = Tensor("images", 0, (1, HEIGHT, WIDTH, 3), "float32")
PLANES = Tensor("images", 0, (1, 3, HEIGHT, WIDTH), "float32")
SCALE, ZERO = 1 / 100, -128


def output(*shape: int, quantized: bool = False) -> Tensor:
    if quantized:
        return Tensor("head", 1, shape, "int8", (SCALE,), (ZERO,))
    return Tensor("head", 1, shape, "float32")


def decoder(found: Tensor, labels: int = 1, picture: Tensor = PICTURE, **options: JsonValue) -> Yolov8Pose:
    return Yolov8Pose(Layout((picture,), (found,), labels, 0.5, options))


def reference(head: np.ndarray, classes: int, numbers: int) -> list[tuple[float, list[float], list[list[float]]]]:
    """Cell by cell, as in Ultralytics' documentation: score, box, keypoints, of what reaches 0.5."""
    found = []
    for cell in range(head.shape[1]):
        x, y, width, height = (float(value) for value in head[:4, cell])
        score = max(float(value) for value in head[4 : 4 + classes, cell])
        if score < 0.5:
            continue
        points = []
        for start in range(4 + classes, head.shape[0], numbers):
            visible = float(head[start + 2, cell]) if numbers == 3 else score
            points.append([float(head[start, cell]), float(head[start + 1, cell]), visible])
        found.append((score, [x - width / 2, y - height / 2, x + width / 2, y + height / 2], points))
    return found


@pytest.mark.parametrize(("classes", "points", "numbers"), [(1, 17, 3), (2, 5, 3), (1, 4, 2)])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("cells_first", [False, True])
def test_random_heads_agree_with_the_formula(
    classes: int, points: int, numbers: int, quantized: bool, cells_first: bool
) -> None:
    rows = 4 + classes + points * numbers
    head = np.random.default_rng(rows).uniform(0.01, 1, (rows, CELLS)).astype(np.float32)
    raw = np.rint(head / SCALE + ZERO).clip(-128, 127).astype(np.int8) if quantized else head
    real = (raw.astype(np.float32) - ZERO) * SCALE if quantized else head
    shape = (1, CELLS, rows) if cells_first else (1, rows, CELLS)
    decode = decoder(output(*shape, quantized=quantized), classes, keypoints=points)
    found = decode([(raw.T if cells_first else raw)[np.newaxis].copy()])
    wanted = reference(real, classes, numbers)
    assert 5 < len(wanted) == len(found.scores)
    assert found.boxes is not None
    for index, (score, box, places) in enumerate(wanted):
        assert found.scores[index] == pytest.approx(score, abs=1e-5)
        assert found.boxes[index] == pytest.approx(box, abs=1e-5)
        assert found.points[index] == pytest.approx(np.array(places), abs=1e-5)


def test_pixels_of_boxes_and_of_points_are_known_apart() -> None:
    head = np.random.default_rng(1).uniform(0.01, 1, (1, 56, CELLS)).astype(np.float32)
    wanted = decoder(output(1, 56, CELLS))([head])
    assert wanted.boxes is not None
    pixels = head.copy()
    pixels[0, 5::3] *= WIDTH
    pixels[0, 6::3] *= HEIGHT
    older = decoder(output(1, 56, CELLS), picture=PLANES)([pixels])
    assert older.points == pytest.approx(wanted.points, abs=1e-5)
    pixels[0, 0:4:2] *= WIDTH
    pixels[0, 1:4:2] *= HEIGHT
    both = decoder(output(1, 56, CELLS), boxes="pixels")([pixels])
    assert both.boxes == pytest.approx(wanted.boxes, abs=1e-5)
    assert both.points == pytest.approx(wanted.points, abs=1e-5)


def test_recognised_by_the_cells_and_17_keypoints() -> None:
    assert Yolov8Pose.recognise((PICTURE,), (output(1, 56, CELLS),))
    assert Yolov8Pose.recognise((PLANES,), (output(1, CELLS, 56),))
    assert Yolov8Pose.recognise((PICTURE,), (output(1, 84, CELLS),)) is None
    assert Yolov8.recognise((PICTURE,), (output(1, 56, CELLS),)) is None


@pytest.mark.parametrize(
    ("shape", "labels", "options", "words"),
    [
        ((1, 57, CELLS), 1, {}, r"57 numbers a cell, which are not 4 \+ 1 \(classes\) \+ k keypoints"),
        ((1, 56, CELLS), 1, {"keypoints": 16}, r"\+ 16 keypoints"),
        ((1, 56, CELLS), 1, {"keypoints": "many"}, "expected a number from 1 to 256"),
        ((1, 56, 99), 1, {}, "one output of the 42 cells"),
        ((1, 56), 1, {}, "one output of the 42 cells"),
    ],
)
def test_what_does_not_add_up_is_refused(
    shape: tuple[int, ...], labels: int, options: dict[str, JsonValue], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        Yolov8Pose(Layout((PICTURE,), (output(*shape),), labels, 0.5, options))


@given(npst.arrays(np.float32, (1, 56, CELLS), elements=st.floats(width=32)))
def test_any_floats_give_sound_bodies(raw: np.ndarray) -> None:
    sound(decoder(output(1, 56, CELLS)), raw)


@given(npst.arrays(np.int8, (1, 56, CELLS)))
def test_any_bytes_give_sound_bodies(raw: np.ndarray) -> None:
    sound(decoder(output(1, 56, CELLS, quantized=True)), raw)


def sound(decode: Yolov8Pose, raw: np.ndarray) -> None:
    found = decode([raw])
    assert found.boxes is not None
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.points).all()
    assert ((found.points[:, :, 2] >= 0) & (found.points[:, :, 2] <= 1)).all()
    assert ((found.scores >= 0.49) & (found.scores <= 1)).all()
