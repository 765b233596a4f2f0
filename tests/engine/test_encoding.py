from __future__ import annotations

import numpy as np
import pytest

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.encoding import customary_range, encoding
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan

EVERY = np.arange(256)
AS_SAID = InputPlan(mean=(127.5,), std=(127.5,))


def tensor(dtype: str, scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("input", 0, (1, 8, 8, 3), dtype, (scale,) if scale else (), (zero,) if scale else ())


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "stands_for", "offset"),
    [
        ("uint8", 0.0078125, 128, (-1, 1), 0),
        ("uint8", 0.00784314, 127, (-1, 1), 0),
        ("uint8", 0.00392157, 0, (0, 1), 0),
        ("int8", 0.00392157, -128, (0, 1), -128),
        ("int8", 1.0, -128, (0, 255), -128),
        ("int8", 0.007843137718737125, -1, (-1, 1), -128),
        ("int8", 1.0, 0, (-128, 127), -128),
    ],
)
def test_quantization_of_a_customary_range_takes_the_bytes(
    dtype: str, scale: float, zero: int, stands_for: tuple[int, int], offset: int
) -> None:
    found = tensor(dtype, scale, zero)
    assert customary_range(found) == stands_for
    table = encoding(InputPlan(), found, 3)
    assert table.dtype == dtype
    assert (table == (EVERY + offset)[:, np.newaxis]).all()


def test_mean_and_std_are_quantized_to_the_nearest_step_half_to_even() -> None:
    table = encoding(AS_SAID, tensor("int8", 2 / 255, -1), 3)
    assert table[[0, 1, 2, 3, 254, 255], 0].tolist() == [-128, -128, -126, -126, 126, 126]


def test_real_values_are_within_half_a_step_of_what_was_trained() -> None:
    for found in (tensor("int8", 0.02, 5), tensor("uint8", 0.0078125, 128), tensor("int16", 1 / 32768, 0)):
        plan = InputPlan(mean=(123.0, 117.0, 104.0), std=(255.0, 130.0, 200.0))
        table = encoding(plan, found, 3)
        real = (EVERY[:, np.newaxis] - np.array(plan.mean)) / np.array(plan.std)
        limits = np.iinfo(found.dtype)
        low, high = (found.scale[0] * (int(limit) - found.zero_point[0]) for limit in (limits.min, limits.max))
        back = found.dequantize(table)
        assert np.abs(back - np.clip(real, low, high)).max() <= found.scale[0] / 2 + 1e-6


def test_tensors_without_parameters_take_the_brightness_itself() -> None:
    for dtype in ("uint8", "int16", "int32"):
        assert (encoding(InputPlan(), tensor(dtype), 3) == EVERY[:, np.newaxis]).all()
    assert encoding(InputPlan(mean=(128.0,), std=(1.0,)), tensor("int8"), 3)[[0, 255], 0].tolist() == [-128, 127]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_float_inputs_are_what_was_said(dtype: str) -> None:
    table = encoding(AS_SAID, tensor(dtype), 3)
    assert table.dtype == dtype
    assert table[:, 0] == pytest.approx((EVERY - 127.5) / 127.5, abs=1e-3)


@pytest.mark.parametrize(
    ("plan", "found", "words"),
    [
        (InputPlan(), tensor("float32"), "input: {mean: 127.5, std: 127.5}"),
        (InputPlan(), tensor("int8"), "input: {mean: 128, std: 1}"),
        (InputPlan(), tensor("int8", 0.58, 83), "does not have one of the usual ranges"),
        (InputPlan(), tensor("int16", 0.0001, 0), "does not have one of the usual ranges"),
        (InputPlan(mean=(1.0, 2.0)), tensor("uint8"), "has 2 numbers; expected one, or one for each of the 3"),
        (InputPlan(mean=(1.0,), std=(0.0,)), tensor("uint8"), "`input: std` is 0"),
        (InputPlan(), tensor("int64"), "of int64; a picture needs an 8-bit or float tensor"),
    ],
)
def test_what_nobody_says_is_refused_with_the_remedy(plan: InputPlan, found: Tensor, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        encoding(plan, found, 3)
    assert words in str(caught.value)
