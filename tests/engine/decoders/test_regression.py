from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.regression import Regression
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import floats


def tensor(*shape: int, dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("level", 0, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def decoder(*outputs: Tensor) -> Regression:
    return Regression(Layout((tensor(1, 4),), outputs, 0, 0.5))


def test_all_numbers_of_all_outputs_in_their_order() -> None:
    decode = decoder(tensor(1, 2), tensor(1, 1, dtype="int8", scale=0.5, zero=-2))
    assert decode.values == 3
    found = decode([np.array([[1.5, -2]], np.float32), np.array([[8]], np.int8)])
    assert found.values.tolist() == [1.5, -2.0, 5.0]


def test_what_is_no_number_is_none() -> None:
    found = decoder(tensor(1, 2))([np.array([[np.inf, 7]], np.float32)])
    assert np.isnan(found.values[0])
    assert (found.values[1], found.nonfinite) == (7.0, 1)


def test_more_numbers_than_anybody_would_name_are_refused() -> None:
    with pytest.raises(ModelError, match="1 to 32 numbers, not 640"):
        decoder(tensor(1, 640))
    assert Regression.recognise((tensor(1, 4),), (tensor(1, 1),)) is None


@given(floats(1, 3))
def test_any_numbers_are_given_on_or_counted(values: np.ndarray) -> None:
    found = decoder(tensor(1, 3))([values])
    finite = np.isfinite(values.reshape(-1))
    assert found.nonfinite == 3 - finite.sum()
    assert (found.values[finite] == values.reshape(-1)[finite]).all()
    assert np.isnan(found.values[~finite]).all()
