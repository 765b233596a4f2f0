from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.fomo import Fomo
from edge_infer.engine.interpreter import Interpreter, Tensor
from edge_infer.engine.preprocess.image import ImagePreprocess
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.frames.picture import read_picture
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture

ROWS, COLUMNS = 4, 8
PICTURE = picture(64, 32)
OUTPUT = Tensor("map", 1, (1, ROWS, COLUMNS, 3), "float32")
QUANTIZED = Tensor("map", 1, (1, ROWS, COLUMNS, 3), "int8", (1 / 256,), (-128,))


def decoder(output: Tensor = OUTPUT, **options: JsonValue) -> Fomo:
    return Fomo(Layout((PICTURE,), (output,), 2, 0.5, options))


def flooded(cells: NDArray[np.floating], threshold: float) -> Plain:
    """Groups found cell by cell, in the order of classes and of their first cells."""
    found, height, width = [], cells.shape[0], cells.shape[1]
    for number in range(cells.shape[2] - 1):
        left = {
            (row, column) for row, column in np.ndindex(height, width) if cells[row, column, 1 + number] >= threshold
        }
        for first in sorted(left):
            if first not in left:
                continue
            left.remove(first)
            group, front = {first}, [first]
            while front:
                row, column = front.pop()
                around = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
                left -= around
                group |= around
                front += around
            rows, columns = [row for row, _ in group], [column for _, column in group]
            box = min(columns) / width, min(rows) / height, (max(columns) + 1) / width, (max(rows) + 1) / height
            found.append((number, max(float(cells[row, column, 1 + number]) for row, column in group), box))
    return found


def test_cells_that_touch_are_one_object() -> None:
    cells = np.zeros((1, ROWS, COLUMNS, 3), np.float32)
    cells[0, 0, 1, 1], cells[0, 1, 2, 1] = 0.5, 0.875  # at a corner
    cells[0, 3, 7, 1] = 0.75
    cells[0, 1, 3, 2] = 0.625  # touches the first, but is of another class
    found = decoder()([cells])
    assert found.merged
    check_same(
        found,
        [(0, 0.875, (1 / 8, 0.0, 3 / 8, 0.5)), (0, 0.75, (7 / 8, 0.75, 1.0, 1.0)), (1, 0.625, (3 / 8, 0.25, 0.5, 0.5))],
    )


@pytest.mark.parametrize("seed", range(4))
def test_as_a_flood_of_cells_finds_them(seed: int) -> None:
    cells = np.random.default_rng(seed).integers(-128, 127, QUANTIZED.shape, np.int8)
    cells[0, :, :, 1:] -= cells[0, :, :, 1:] // 2  # fewer groups, each smaller
    cells[0, seed % ROWS] = 100
    wanted = flooded((cells[0].astype(np.float64) + 128) / 256, 0.5)
    assert len(wanted) >= 2
    found = decoder(QUANTIZED)([cells])
    order = np.lexsort((found.boxes[:, 0], found.boxes[:, 1], found.classes))
    assert [tuple(box) for box in found.boxes[order].tolist()] == [
        box for _, _, box in sorted(wanted, key=lambda one: (one[0], one[2][1], one[2][0]))
    ]
    assert sorted(found.scores.tolist()) == sorted(score for _, score, _ in wanted)


def test_nothing_there() -> None:
    found = decoder()([np.zeros((1, ROWS, COLUMNS, 3), np.float32)])
    assert (found.boxes.shape, found.nonfinite) == ((0, 4), 0)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    cells = np.zeros((1, ROWS, COLUMNS, 3), np.float32)
    cells[0, 0, 0, 1], cells[0, 0, 1, 1], cells[0, 3, 3, 2] = np.nan, 0.75, np.inf
    found = decoder()([cells])
    assert found.scores.tolist() == [0.75]
    assert found.nonfinite == 2


def test_recognised_by_cells_of_eight_pixels_and_scores() -> None:
    assert Fomo.recognise((PICTURE,), (QUANTIZED,))
    assert Fomo.recognise((PICTURE,), (OUTPUT,)) is None
    assert Fomo.recognise((picture(128, 64),), (QUANTIZED,)) is None
    assert Fomo.recognise((PICTURE,), (QUANTIZED, QUANTIZED)) is None


def test_what_does_not_fit_is_told_what_is_right() -> None:
    with pytest.raises(ModelError, match=r"one output \[1, rows, columns, 1 \+ classes\], not \[1, 4, 8, 1\]"):
        decoder(Tensor("map", 1, (1, 4, 8, 1), "float32"))


@given(floats(1, ROWS, COLUMNS, 3))
def test_any_floats_give_sound_boxes(raw: NDArray[np.float32]) -> None:
    check_sound(decoder()([raw]), 2)


@given(npst.arrays(np.int8, QUANTIZED.shape))
def test_any_bytes_give_sound_boxes(raw: NDArray[np.int8]) -> None:
    check_sound(decoder(QUANTIZED)([raw]), 2)


@pytest.mark.parametrize(("image", "scores"), [("astronaut.png", [0.95]), ("cat.bmp", [])])
def test_a_real_file(assets: Path, image: str, scores: list[float]) -> None:
    model = Interpreter(str(assets / "models" / "openmv_fomo_face_detection.tflite"))
    assert Fomo.recognise(model.inputs, model.outputs)
    preprocess = ImagePreprocess(Fomo.input, model.inputs[0])
    preprocess(Frame(read_picture(str(assets / "images" / image)), "bgr", 0.0, 0.0, 1), model.input())
    found = Fomo(Layout(model.inputs, model.outputs, 1, 0.5))(model.invoke())
    assert found.scores.tolist() == pytest.approx(scores, abs=0.06)
    if scores:  # one cell, on the face that is at (171, 67, 278, 173) of 512 x 512
        x, y = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2 * 512
        assert 171 < x < 278
        assert 67 < y < 173
    model.close()
