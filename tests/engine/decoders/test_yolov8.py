from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolov8 import Yolov8
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

WIDTH, HEIGHT, CELLS = 64, 32, 42  # 8 * 4 + 4 * 2 + 2 * 1
PICTURE = Tensor("images", 0, (1, HEIGHT, WIDTH, 3), "int8")
SCALE, ZERO = 1 / 128, -128


def output(*shape: int, quantized: bool = False, scale: float = SCALE) -> Tensor:
    if quantized:
        return Tensor("head", 1, shape, "int8", (scale,), (ZERO,))
    return Tensor("head", 1, shape, "float32")


def decoder(found: Tensor, labels: int = 3, **options: JsonValue) -> Yolov8:
    return Yolov8(Layout((PICTURE,), (found,), labels, 0.5, options))


def head() -> np.ndarray:
    """Three classes; cells 5 and 40 hold something, by hand: centre, size, scores."""
    raw = np.zeros((1, 7, CELLS), np.float32)
    raw[0, :4] = 0.25
    raw[0, :, 5] = (0.5, 0.5, 0.25, 0.5, 0.1, 0.75, 0.0)
    raw[0, :, 40] = (0.25, 0.75, 0.125, 0.25, 0.625, 0.5, 0.0)
    return raw


WANTED = np.array([[0.375, 0.25, 0.625, 0.75], [0.1875, 0.625, 0.3125, 0.875]])


def check(found: object, raw: np.ndarray) -> None:
    assert isinstance(found, Yolov8)
    boxes = found([raw])
    assert boxes.boxes == pytest.approx(WANTED)
    assert boxes.scores == pytest.approx([0.75, 0.625])
    assert boxes.classes.tolist() == [1, 0]
    assert not boxes.merged


def test_float_fractions_and_pixels_and_both_orders() -> None:
    raw = head()
    check(decoder(output(1, 7, CELLS)), raw)
    check(decoder(output(1, CELLS, 7)), raw.transpose(0, 2, 1).copy())
    pixels = raw.copy()
    pixels[0, 0:4:2] *= WIDTH
    pixels[0, 1:4:2] *= HEIGHT
    check(decoder(output(1, 7, CELLS)), pixels)
    check(decoder(output(1, 7, CELLS), boxes="pixels"), pixels)


def test_quantized_with_one_scale() -> None:
    raw = np.rint(head() / SCALE + ZERO).clip(-128, 127).astype(np.int8)
    check(decoder(output(1, 7, CELLS, quantized=True)), raw)
    check(decoder(output(1, CELLS, 7, quantized=True)), raw.transpose(0, 2, 1).copy())


def test_quantized_pixels_are_known_by_their_range() -> None:
    found = decoder(output(1, 7, CELLS, quantized=True, scale=0.5))
    raw = np.full((1, 7, CELLS), ZERO, np.int8)
    raw[0, :5, 3] = np.array([32, 16, 16, 8, 1]) / 0.5 + ZERO
    assert found([raw]).boxes == pytest.approx(np.array([[0.375, 0.375, 0.625, 0.625]]))


def test_labels_tell_the_order_where_the_cells_do_not() -> None:
    assert decoder(output(1, 7, 99)).classes == 3
    assert decoder(output(1, 99, 7)).classes == 3
    with pytest.raises(
        ModelError, match=r"no side equals the 42 cells of its input or 4 \+ the number of labels \(5\)"
    ):
        decoder(output(1, 7, 99), labels=5)
    with pytest.raises(ModelError, match="expected fractions or pixels"):
        decoder(output(1, 7, CELLS), boxes="inches")
    with pytest.raises(ModelError, match="a YOLOv8 head is one output"):
        Yolov8(Layout((PICTURE,), (output(1, 7, CELLS), output(1, 7, CELLS)), 3, 0.5))


def test_recognised_by_the_number_of_cells() -> None:
    assert Yolov8.recognise((PICTURE,), (output(1, 84, CELLS),))
    assert Yolov8.recognise((PICTURE,), (output(1, CELLS, 84),))
    assert Yolov8.recognise((PICTURE,), (output(1, 3 * CELLS, 85),)) is None
    assert Yolov8.recognise((PICTURE,), (output(1, 56, CELLS),)) is None, "looks like a pose head"
    assert Yolov8.recognise((PICTURE,), (output(1, 4, CELLS),)) is None


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    raw = head()
    raw[0, 4, 5], raw[0, 0, 40] = np.nan, np.inf
    found = decoder(output(1, 7, CELLS))([raw])
    assert (len(found.scores), found.nonfinite) == (0, 2)


@pytest.mark.long
@given(npst.arrays(np.float32, (1, 7, CELLS), elements=st.floats(width=32)))
def test_any_floats_give_sound_boxes(raw: np.ndarray) -> None:
    sound(decoder(output(1, 7, CELLS)), raw)


@given(npst.arrays(np.int8, (1, 7, CELLS)))
def test_any_bytes_give_sound_boxes(raw: np.ndarray) -> None:
    sound(decoder(output(1, 7, CELLS, quantized=True)), raw)


def sound(decode: Yolov8, raw: np.ndarray) -> None:
    found = decode([raw])
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0.5) & (found.scores <= 1)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert ((found.classes >= 0) & (found.classes < 3)).all()
