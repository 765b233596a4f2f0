from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.segmentation import Segmentation
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

SIDE = 16
PICTURE = Tensor("image", 0, (1, SIDE, SIDE, 3), "uint8")
PLANES = Tensor("image", 0, (1, 3, SIDE, SIDE), "float32")


def output(*shape: int, dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("map", 1, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def decoder(found: Tensor, labels: int = 0, picture: Tensor = PICTURE, **options: JsonValue) -> Segmentation:
    return Segmentation(Layout((picture,), (found,), labels, 0.01, options))


def wanted() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 5, (SIDE, SIDE))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(1, SIDE, SIDE), (1, SIDE, SIDE, 1)])
def test_class_ids_are_taken_as_they_are(dtype: str, shape: tuple[int, ...]) -> None:
    decode = decoder(output(*shape, dtype=dtype), labels=5)
    assert decode.classes == 0, "the shape does not say how many there are"
    assert (decode([wanted().astype(dtype).reshape(shape)]).classes == wanted()).all()


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 0.0), ("float16", 0.0), ("uint8", 1 / 256), ("int8", 0.3)])
@pytest.mark.parametrize("classes_first", [False, True])
def test_the_greatest_counts_whatever_the_numbers_are(dtype: str, scale: float, classes_first: bool) -> None:
    """The reference goes through real values and softmax; ties are kept out of the random maps."""
    random = np.random.default_rng(5)
    raw = np.argsort(random.uniform(size=(SIDE, SIDE, 5)), axis=2).astype(dtype) * 7
    real = raw.astype(np.float64) * (scale or 1)
    softmax = np.exp(real) / np.exp(real).sum(axis=2, keepdims=True)
    shape = (1, 5, SIDE, SIDE) if classes_first else (1, SIDE, SIDE, 5)
    picture = PLANES if classes_first else PICTURE
    decode = decoder(output(*shape, dtype=dtype, scale=scale), picture=picture)
    assert decode.classes == 5
    found = decode([(raw.transpose(2, 0, 1) if classes_first else raw)[np.newaxis].copy()])
    assert (found.classes == softmax.argmax(axis=2)).all()


def test_labels_tell_where_the_classes_are() -> None:
    raw = np.zeros((1, 5, SIDE, SIDE), np.float32)
    raw[0, 3] = 1
    assert (decoder(output(1, 5, SIDE, SIDE), labels=5)([raw]).classes == 3).all()


def test_one_score_is_that_of_the_second_class() -> None:
    raw = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE, 1)
    decode = decoder(output(1, SIDE, SIDE, 1))
    assert decode.classes == 2
    assert (decode([raw]).classes == (raw[0, :, :, 0] >= 0.5)).all()
    logits = raw * 8 - 4
    assert (decode([logits]).classes == (logits[0, :, :, 0] >= 0)).all()
    assert decoder(output(1, SIDE, SIDE, 1), activation="sigmoid")([raw]).classes.all()
    stored = np.array([0, 127, 128, 255], np.uint8).reshape(1, 2, 2, 1)
    quantized = decoder(output(1, 2, 2, 1, dtype="uint8", scale=1 / 256))
    assert quantized([stored]).classes.ravel().tolist() == [0, 0, 1, 1]


def test_recognised_where_nothing_else_has_the_shape() -> None:
    def recognised(*shape: int, dtype: str = "float32") -> bool:
        return Segmentation.recognise((PICTURE,), (output(*shape, dtype=dtype),)) is not None

    assert recognised(1, 9, 9, dtype="int64")
    assert recognised(1, SIDE, SIDE, 21)
    assert not recognised(1, SIDE, SIDE, 3), "another picture"
    assert not recognised(1, SIDE, SIDE, 1), "a depth, a mask, an attention"
    assert not recognised(1, 4, 4, 21), "a grid of objects"
    assert not recognised(1, 9, 9)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (output(1, 4), r"a segmentation has one output.* not \[1, 4\]"),
        (output(2, 4, 4), "a segmentation has one output"),
        (output(1, 4, 4), "class ids are whole numbers"),
        (output(1, 4, 4, dtype="uint8", scale=0.1), "class ids are whole numbers"),
    ],
)
def test_what_is_no_map_is_refused(found: Tensor, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        decoder(found)


def test_pixels_that_are_no_numbers_are_nobodys_and_counted() -> None:
    raw = np.zeros((1, SIDE, SIDE, 5), np.float32)
    raw[0, 0, 0, 2], raw[0, 3, 4, 0] = np.nan, np.inf
    found = decoder(output(1, SIDE, SIDE, 5))([raw])
    assert (found.classes[0, 0], found.classes[3, 4], found.nonfinite) == (-1, -1, 2)
    assert (found.classes == -1).sum() == 2
    ids = decoder(output(1, 2, 2, dtype="int64"))([np.array([[[1, -7], [1 << 40, 3]]])])
    assert ids.classes.tolist() == [[1, -1], [(1 << 31) - 1, 3]]


@given(npst.arrays(np.float32, (1, SIDE, SIDE, 3), elements=st.floats(width=32)))
def test_any_floats_give_a_class_for_each_pixel(raw: np.ndarray) -> None:
    found = decoder(output(1, SIDE, SIDE, 3))([raw])
    one = decoder(output(1, SIDE, SIDE, 1))([raw[..., :1].copy()])
    assert ((found.classes >= -1) & (found.classes < 3)).all()
    assert ((one.classes >= -1) & (one.classes < 2)).all()
    assert (found.classes == -1).sum() == found.nonfinite


@given(npst.arrays(np.int64, (1, 4, 4)))
def test_any_ids_are_ids(raw: np.ndarray) -> None:
    found = decoder(output(1, 4, 4, dtype="int64"))([raw])
    assert (found.classes >= -1).all()
