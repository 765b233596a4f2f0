"""Expected values are computed by hand; a real file is compared in ``tests/engine/test_agreement.py``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolov5 import Yolov5
from edge_infer.engine.decoders.yolov8 import Yolov8
from edge_infer.engine.decoders.yolox import Yolox
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import check_same, check_sound, floats, picture, quantize

PICTURE = picture(64, 32)
ROWS = 3 * 42  # three anchors for 8 * 4 + 4 * 2 + 2 * 1 cells
QUANTIZED = Tensor("head", 1, (1, ROWS, 8), "uint8", (1 / 128,), (3,))
WANTED = [(1, 0.75, (0.375, 0.25, 0.625, 0.75)), (0, 0.5625, (0.1875, 0.625, 0.3125, 0.875))]


def output(*shape: int) -> Tensor:
    return Tensor("head", 1, shape, "float32")


def decoder(found: Tensor, **options: JsonValue) -> Yolov5:
    return Yolov5(Layout((PICTURE,), (found,), 3, 0.5, options))


def head() -> NDArray[np.float64]:
    """Three classes; rows 5 and 100 hold something, row 7 objectness alone, row 8 a class alone."""
    raw = np.zeros((1, ROWS, 8))
    raw[0, :, :4] = 0.25
    raw[0, 5] = (0.5, 0.5, 0.25, 0.5, 1.0, 0.125, 0.75, 0.0)
    raw[0, 100] = (0.25, 0.75, 0.125, 0.25, 0.75, 0.75, 0.5, 0.0)
    raw[0, 7, 4:] = (1.0, 0.25, 0.375, 0.25)
    raw[0, 8, 4:] = (0.375, 1.0, 0.0, 0.0)
    return raw


def test_score_is_objectness_times_class_in_fractions_and_pixels() -> None:
    raw = head().astype(np.float32)
    check_same(decoder(output(1, ROWS, 8))([raw]), WANTED)
    pixels = raw * np.array((64, 32, 64, 32, 1, 1, 1, 1), np.float32)
    check_same(decoder(output(1, ROWS, 8))([pixels]), WANTED)
    check_same(decoder(output(1, ROWS, 8), boxes="pixels")([pixels]), WANTED)


def test_quantized() -> None:
    check_same(decoder(QUANTIZED)([quantize(head(), QUANTIZED)]), WANTED)


def test_not_confused_with_yolov8_and_yolox() -> None:
    own = (output(1, ROWS, 85),)
    assert Yolov5.recognise((PICTURE,), own)
    assert Yolov8.recognise((PICTURE,), own) is None
    assert Yolox.recognise((PICTURE,), own) is None
    for other in ((1, 84, 42), (1, 42, 84), (1, 42, 85), (1, ROWS, 5), (1, 85, ROWS), (1, ROWS + 1, 85)):
        assert Yolov5.recognise((PICTURE,), (output(*other),)) is None
    large = picture(1280, 1280)
    assert Yolov5.recognise((large,), (output(1, 102000, 85),)), "with the stride of 64"
    assert Yolov5.recognise((large,), (output(1, 100800, 85),))


def test_wrong_manifests_are_told_what_is_right() -> None:
    with pytest.raises(ModelError, match="`decoder: boxes` is 'inches'; expected fractions or pixels"):
        decoder(output(1, ROWS, 8), boxes="inches")
    with pytest.raises(ModelError, match=r"one output \[1, n, 5 \+ classes\], not \[1, 126, 5\]"):
        decoder(output(1, ROWS, 5))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    raw = head().astype(np.float32)
    raw[0, 5, 0], raw[0, 100, 6], raw[0, 9, 4] = np.inf, np.nan, np.nan
    found = decoder(output(1, ROWS, 8), boxes="fractions")([raw])
    assert (len(found.scores), found.nonfinite) == (0, 3)


@given(floats(1, ROWS, 8))
def test_any_floats_give_sound_boxes(raw: NDArray[np.float32]) -> None:
    check_sound(decoder(output(1, ROWS, 8))([raw]), 3)


@given(npst.arrays(np.uint8, (1, ROWS, 8)))
def test_any_bytes_give_sound_boxes(raw: NDArray[np.uint8]) -> None:
    found = decoder(QUANTIZED)([raw])
    check_sound(found, 3)
    assert (found.scores >= 0.5).all()
