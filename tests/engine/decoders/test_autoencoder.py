from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.autoencoder import Autoencoder
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import floats


def tensor(*shape: int, dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("features", 0, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def decoder(given: Tensor, made: Tensor, **options: JsonValue) -> Autoencoder:
    return Autoencoder(Layout((given,), (made,), 0, 0.5, options))


def test_the_mean_of_the_squares_of_what_differs() -> None:
    decode = decoder(tensor(1, 4), tensor(1, 2, 2))
    made, given = np.array([[[1, 2], [3, 4]]], np.float32), np.array([[1, 0, 3, 0]], np.float32)
    assert decode([made, given]).score == pytest.approx((4 + 16) / 4)
    absolute = decoder(tensor(1, 4), tensor(1, 2, 2), error="absolute")
    assert absolute([made, given]).score == pytest.approx((2 + 4) / 4)


def test_the_output_is_quantized_and_the_input_is_not() -> None:
    decode = decoder(tensor(1, 2, dtype="int8", scale=0.5, zero=10), tensor(1, 2, dtype="int8", scale=0.25, zero=-4))
    found = decode([np.array([[4, 0]], np.int8), np.array([[1.2, 0]])])  # 2, 1 made of 1.2, 0
    assert found.score == pytest.approx((0.8**2 + 1) / 2)


def test_an_input_that_is_too_large_for_a_float_gives_a_distance() -> None:
    found = decoder(tensor(1, 2), tensor(1, 2))([np.zeros((1, 2), np.float32), np.array([[math.inf, -1e300]])])
    assert found.score == pytest.approx(float(np.finfo(np.float32).max) ** 2)


def test_no_number_gives_no_distance() -> None:
    found = decoder(tensor(1, 2), tensor(1, 2))([np.array([[np.inf, 1]], np.float32), np.zeros((1, 2), np.float32)])
    assert math.isnan(found.score)
    assert found.nonfinite == 1


def test_what_is_no_autoencoder_is_refused() -> None:
    with pytest.raises(ModelError, match=r"an output of the same size, not \[\[1, 4\]\] and \[\[1, 3\]\]"):
        decoder(tensor(1, 4), tensor(1, 3))
    with pytest.raises(ModelError, match="`decoder: error` is 'cubed'; expected squared or absolute"):
        decoder(tensor(1, 4), tensor(1, 4), error="cubed")
    assert Autoencoder.recognise((tensor(1, 4),), (tensor(1, 4),)) is None


@given(floats(1, 6), floats(1, 6))
def test_any_numbers_give_a_distance_or_none(made: np.ndarray, given_: np.ndarray) -> None:
    clean = np.nan_to_num(given_, nan=0.0, posinf=1.0, neginf=-1.0)
    found = decoder(tensor(1, 6), tensor(1, 6))([made, clean])
    assert math.isnan(found.score) == (not np.isfinite(made).all())
    assert math.isnan(found.score) or found.score >= 0
