from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.classification import Classification
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

PICTURE = Tensor("input", 0, (1, 96, 96, 3), "uint8")


def output(shape: tuple[int, ...], dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("scores", 1, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def decoder(found: Tensor, labels: int = 0, **options: JsonValue) -> Classification:
    return Classification(Layout((PICTURE,), (found,), labels, 0.5, options))


def test_quantized_probabilities_are_taken_as_they_are() -> None:
    decode = decoder(output((1, 3), "int8", 1 / 256, -128))
    found = decode([np.array([[-128, 0, 127]], np.int8)])
    assert found.scores.tolist() == [0.0, 0.5, 255 / 256]
    assert decode.classes == 3


def test_softmax_and_sigmoid_where_the_manifest_says_so() -> None:
    logits = np.array([[0.0, np.log(3.0)]], np.float32)
    softmax = decoder(output((1, 2)), activation="softmax")
    assert softmax([logits]).scores == pytest.approx([0.25, 0.75])
    assert softmax([logits + 10000]).scores == pytest.approx([0.25, 0.75], abs=1e-3)
    assert decoder(output((1, 2)), activation="sigmoid")([logits]).scores == pytest.approx([0.5, 0.75])
    huge = np.array([[-3e38, 3e38]], np.float32)
    assert decoder(output((1, 2)), activation="sigmoid")([huge]).scores == pytest.approx([0.0, 1.0])
    quantized = decoder(output((1, 2), "int8", 0.5, 0), activation="softmax")
    assert quantized([np.array([[0, 4]], np.int8)]).scores == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e**-2)])


def test_float_scores_have_to_show_that_they_are() -> None:
    decode = decoder(output((1, 3)))
    assert decode([np.array([[0.2, 0.3, 0.5]], np.float32)]).scores == pytest.approx([0.2, 0.3, 0.5])
    with pytest.raises(ModelError, match=r"numbers from -1 to 7 with the sum 10.*activation: softmax"):
        decode([np.array([[-1, 4, 7]], np.float32)])


def test_quantized_logits_need_the_manifest() -> None:
    with pytest.raises(ModelError, match=r"covers more than 0\.\.1.*activation: softmax"):
        decoder(output((1, 10), "int8", 0.14, 40))
    with pytest.raises(ModelError, match="expected none, softmax or sigmoid"):
        decoder(output((1, 10)), activation="relu")
    with pytest.raises(ModelError, match="int64 without quantization"):
        decoder(output((1, 10), "int64"))


def test_imagenet_background_has_no_label() -> None:
    found = output((1, 1001), "uint8", 1 / 256, 0)
    raw = np.zeros((1, 1001), np.uint8)
    raw[0, 1] = 128
    without = decoder(found, labels=1000)
    assert without.classes == 1000
    assert without([raw]).scores.argmax() == 0
    with_background = decoder(found, labels=1001)
    assert with_background.classes == 1001
    assert with_background([raw]).scores.argmax() == 1


def test_one_number_with_two_labels_is_the_second() -> None:
    found = output((1, 1), "uint8", 1 / 256, 0)
    decode = decoder(found, labels=2)
    assert decode.classes == 2
    assert decode([np.array([[64]], np.uint8)]).scores.tolist() == [0.75, 0.25]
    assert decoder(found, labels=1)([np.array([[64]], np.uint8)]).scores.tolist() == [0.25]


def test_nothing_finite_is_counted_and_no_score() -> None:
    found = decoder(output((1, 3)))([np.array([[np.nan, 0.5, np.inf]], np.float32)])
    assert found.nonfinite == 2
    assert found.scores.tolist() == [0, 0, 0]


@given(npst.arrays(np.float32, (1, 7)), st.sampled_from(["softmax", "sigmoid", "none"]))
def test_scores_are_always_scores(raw: np.ndarray, activation: str) -> None:
    found = decoder(output((1, 7)), activation=activation)([raw])
    assert np.isfinite(found.scores).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


@pytest.mark.parametrize(
    ("inputs", "outputs", "recognised"),
    [
        ((PICTURE,), (output((1, 10), "uint8", 1 / 256, 0),), True),
        ((PICTURE,), (output((1, 1, 1, 10), "int8", 1 / 256, -128),), True),
        ((PICTURE,), (output((1, 10)),), False),
        ((PICTURE,), (output((1, 128), "int8", 0.1, 3),), False),
        ((PICTURE,), (output((1, 1), "uint8", 1 / 256, 0),), False),
        ((PICTURE,), (output((1, 12, 12, 2), "int8", 1 / 256, -128),), False),
        ((Tensor("mfcc", 0, (1, 49, 10, 1), "int8"),), (output((1, 12), "int8", 1 / 256, -128),), False),
        ((Tensor("samples", 0, (1, 1960), "int8"),), (output((1, 4), "int8", 1 / 256, -128),), False),
    ],
)
def test_recognised_where_one_reading_is_left(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], recognised: bool
) -> None:
    assert (Classification.recognise(inputs, outputs) is not None) == recognised


def test_more_outputs_are_refused() -> None:
    with pytest.raises(ModelError, match="one output of the shape"):
        Classification(Layout((PICTURE,), (output((1, 3)), output((1, 3))), 0, 0.5))
