"""No public file of this family is at hand: the decoder is compared with the published formula, written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolov8 import Yolov8
from edge_infer.engine.decoders.yolox import Yolox
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture, quantize

WIDTH, HEIGHT, CELLS, CLASSES = 96, 64, 126, 4  # 12 * 8 + 6 * 4 + 3 * 2 cells
OUTPUT = Tensor("output", 1, (1, CELLS, 5 + CLASSES), "float32")


def decoder(output: Tensor = OUTPUT, threshold: float = 0.3, **options: JsonValue) -> Yolox:
    return Yolox(Layout((picture(WIDTH, HEIGHT),), (output,), CLASSES, threshold, options))


def published(head: NDArray[np.floating], threshold: float) -> Plain:
    """``(xy + grid) * stride`` and ``exp(wh) * stride``, in pixels, then in fractions."""
    found, index = [], 0
    for stride in (8, 16, 32):
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                x, y, w, h, objectness, *classes = (float(value) for value in head[index])
                index += 1
                best = max(range(CLASSES), key=classes.__getitem__)
                if objectness * classes[best] < threshold:
                    continue
                cx, cy, wide, tall = (
                    (x + column) * stride,
                    (y + row) * stride,
                    math.exp(w) * stride,
                    math.exp(h) * stride,
                )
                box = (
                    (cx - wide / 2) / WIDTH,
                    (cy - tall / 2) / HEIGHT,
                    (cx + wide / 2) / WIDTH,
                    (cy + tall / 2) / HEIGHT,
                )
                found.append((best, objectness * classes[best], box))
    assert index == CELLS
    return found


def random_head(seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return np.concatenate((random.normal(0, 1, (CELLS, 4)), random.random((CELLS, 1 + CLASSES))), axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_as_published(seed: int) -> None:
    head = random_head(seed).astype(np.float32)
    wanted = published(head, 0.3)
    assert len(wanted) > 20
    check_same(decoder()([head[np.newaxis]]), wanted)


def test_quantized() -> None:
    tensor = Tensor("output", 1, OUTPUT.shape, "int8", (0.03,), (-20,))
    raw = quantize(random_head(5), tensor)
    wanted = published((raw.astype(np.float64) + 20) * 0.03, 0.3)
    assert len(wanted) > 20
    check_same(decoder(tensor)([raw[np.newaxis]]), wanted)


def test_two_readings_are_left_to_the_operator() -> None:
    inputs = (picture(WIDTH, HEIGHT),)
    assert Yolox.recognise(inputs, (OUTPUT,)), "5 + 4 numbers a cell"
    assert Yolov8.recognise(inputs, (OUTPUT,)), "or 4 + 5"
    assert Yolox.recognise(inputs, (Tensor("o", 1, (1, 84, CELLS), "float32"),)) is None
    assert Yolox.recognise(inputs, (Tensor("o", 1, (1, CELLS, 5), "float32"),)) is None
    assert Yolox.recognise((picture(100, 100),), (OUTPUT,)) is None


def test_what_does_not_fit_is_told_what_is_right() -> None:
    with pytest.raises(ModelError, match=r"here \[1, 126, 5 \+ classes\], not \[1, 125, 9\]"):
        decoder(Tensor("o", 1, (1, 125, 9), "float32"))
    with pytest.raises(ModelError, match="sides of the input that 32 divides"):
        Yolox(Layout((picture(100, 100),), (OUTPUT,), CLASSES, 0.3))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    head = np.zeros((1, CELLS, 9), np.float32)
    head[0, :3, 4:6] = 1
    head[0, 0, 0], head[0, 1, 2], head[0, 2, 4] = np.nan, 1000, np.nan
    found = decoder()([head])
    assert (len(found.scores), found.nonfinite) == (0, 3)


@given(floats(1, CELLS, 9))
def test_anything_gives_sound_boxes(raw: NDArray[np.float32]) -> None:
    check_sound(decoder()([raw]), CLASSES)
