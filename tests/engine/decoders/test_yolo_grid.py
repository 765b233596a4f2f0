"""Compared with the published formula, as loops; a real file is compared in ``tests/engine/test_agreement.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolo_grid import YoloGrid
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture, quantize, sigmoid

ROWS, COLUMNS, CLASSES = 3, 4, 3
ANCHORS: list[JsonValue] = [[0.1, 0.2], [0.5, 0.25]]
OUTPUT = Tensor("grid", 1, (1, ROWS, COLUMNS, 2 * (5 + CLASSES)), "float32")


def decoder(output: Tensor = OUTPUT, threshold: float = 0.3, anchors: JsonValue = ANCHORS) -> YoloGrid:
    return YoloGrid(Layout((picture(128, 96),), (output,), CLASSES, threshold, {"anchors": anchors}))


def published(grid: NDArray[np.floating], threshold: float) -> Plain:
    found = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            for number, (wide, tall) in enumerate(((0.1, 0.2), (0.5, 0.25))):
                x, y, w, h, objectness, *logits = (float(value) for value in grid[row, column].reshape(2, -1)[number])
                best = max(range(CLASSES), key=logits.__getitem__)
                share = math.exp(logits[best]) / sum(math.exp(value) for value in logits)
                score = sigmoid(objectness) * share
                if score < threshold:
                    continue
                cx, cy = (sigmoid(x) + column) / COLUMNS, (sigmoid(y) + row) / ROWS
                width, height = math.exp(w) * wide, math.exp(h) * tall
                box = cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
                found.append((best, score, box))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_as_published(seed: int) -> None:
    grid = np.random.default_rng(seed).normal(0.5, 1.5, OUTPUT.shape).astype(np.float32)
    wanted = published(grid[0], 0.3)
    assert len(wanted) > 5
    check_same(decoder()([grid]), wanted)


def test_quantized() -> None:
    tensor = Tensor("grid", 1, OUTPUT.shape, "int8", (0.05,), (10,))
    raw = quantize(np.random.default_rng(9).normal(0.5, 1.5, OUTPUT.shape), tensor)
    wanted = published((raw[0].astype(np.float64) - 10) * 0.05, 0.3)
    assert len(wanted) > 5
    check_same(decoder(tensor)([raw]), wanted)


def test_one_class_is_sure_of_itself() -> None:
    output = Tensor("grid", 1, (1, 1, 1, 6), "float32")
    decode = YoloGrid(Layout((picture(32, 32),), (output,), 1, 0.5, {"anchors": [[0.5, 0.25]]}))
    found = decode([np.array([0, 0, math.log(2), 0, math.log(3), -7], np.float32).reshape(1, 1, 1, 6)])
    check_same(found, [(0, 0.75, (0.0, 0.375, 1.0, 0.625))])


@pytest.mark.parametrize(
    ("anchors", "told"),
    [
        (None, r"the model file contains none; list them in the manifest.*anchors: …"),
        ([], r"is \[\]; expected a list of pairs"),
        ([0.1, 0.2], r"is 0\.1; expected a list of pairs \[width, height\]"),
        ([[0.1, "wide"]], "is 'wide'; expected a number"),
        ([[0.1, True]], "is True; expected a number"),
        ([[0.5, 0.0]], r"is \[0\.5, 0\.0\]; expected"),
        ([[9.72, 11.14]], "divide them by the cells a side"),
        (
            [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
            r"with 3 anchors is one output .*3 x \(5 \+ classes\)\], not \[1, 3, 4, 16\]",
        ),
    ],
)
def test_wrong_anchors_are_told_what_is_right(anchors: JsonValue, told: str) -> None:
    with pytest.raises(ModelError, match=told) as error:
        decoder(anchors=anchors)
    assert error.value.key == "decoder"


def test_never_recognised_since_the_anchors_have_to_be_said() -> None:
    assert YoloGrid.recognise((picture(128, 96),), (OUTPUT,)) is None


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    grid = np.zeros(OUTPUT.shape, np.float32)
    grid[..., 4::8] = -9
    grid[0, 0, 0, 4:6], grid[0, 1, 1, 4:6], grid[0, 2, 3, 4:6] = (np.nan, 9), (9, np.inf), (9, 9)
    grid[0, 2, 3, 2] = np.inf
    found = decoder()([grid])
    assert (len(found.scores), found.nonfinite) == (0, 3)


@pytest.mark.long
@given(floats(*OUTPUT.shape))
def test_anything_gives_sound_boxes(raw: NDArray[np.float32]) -> None:
    check_sound(decoder()([raw]), CLASSES)
