"""Encoding of brightness 0..255 in the input tensor: the normalization used in training, then quantization.

``real = (brightness - mean) / std`` and ``stored = round(real / scale) + zero_point`` (half to even, clipped to the
tensor's type). Without mean and std:

- The quantization of an 8-bit tensor defines its range of real numbers, ``scale * (least - zero_point)`` to
  ``scale * (most - zero_point)``. If this is 0..1, -1..1, 0..255 or -128..127, within one step, its 256 steps are
  brightness 0..255: the bytes are stored unchanged, minus 128 for int8. Otherwise the manifest has to define the range.
- An integer tensor without quantization parameters takes the brightness itself. For int8, which cannot hold it, the
  manifest has to define the range.
- A float tensor has no range of its own: the manifest or the metadata in the file has to define it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan

CUSTOMARY: Final = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
INTEGERS: Final = ("uint8", "int8", "int16", "int32")
FLOATS: Final = ("float32", "float16")
REMEDY: Final = (
    "set the range of its training in the manifest: `input: {mean: 127.5, std: 127.5}` for -1..1, "
    "`input: {mean: 0, std: 255}` for 0..1, `input: {mean: 0, std: 1}` for 0..255"
)


def customary_range(tensor: Tensor) -> tuple[float, float] | None:
    """Return the real values of brightness 0 and 255, within one step, if the quantization implies them; else None."""
    if not tensor.quantized or tensor.dtype not in ("uint8", "int8"):
        return None
    low, high = _own_range(tensor)
    step = tensor.scale[0] * 1.001
    return next((pair for pair in CUSTOMARY if abs(pair[0] - low) <= step and abs(pair[1] - high) <= step), None)


def encoding(plan: InputPlan, tensor: Tensor, channels: int) -> NDArray[Any]:
    """Return the stored value of each brightness, ``[256, channels]``; raise `ModelError` if it is unknown."""
    real = _real(plan, tensor, channels)
    if tensor.dtype in FLOATS:
        return real.astype(tensor.dtype)
    stored = np.rint(real / tensor.scale[0] + tensor.zero_point[0] if tensor.quantized else real)
    limits = np.iinfo(tensor.dtype)
    return np.clip(stored, limits.min, limits.max).astype(tensor.dtype)


def _real(plan: InputPlan, tensor: Tensor, channels: int) -> NDArray[np.float64]:
    brightness = np.arange(256, dtype=np.float64).reshape(256, 1)
    if tensor.dtype not in INTEGERS + FLOATS:
        raise ModelError(f"its input {tensor.name} is of {tensor.dtype}; a picture needs an 8-bit or float tensor")
    if plan.mean is None and plan.std is None:
        low, high = _range(tensor)
        real = low + brightness * ((high - low) / 255.0)
    else:
        mean = _per_channel("mean", plan.mean or (0.0,), channels)
        std = _per_channel("std", plan.std or (1.0,), channels)
        if not std.all():
            raise ModelError("the manifest's `input: std` is 0; brightness is divided by it")
        real = (brightness - mean) / std
    return np.broadcast_to(real, (256, channels))


def _range(tensor: Tensor) -> tuple[float, float]:
    if tensor.dtype in FLOATS:
        raise ModelError(f"its input {tensor.name} of {tensor.dtype} has an unknown range; {_remedy(tensor)}")
    if not tensor.quantized:
        if tensor.dtype == "int8":
            raise ModelError(
                f"its input {tensor.name} is of int8 without quantization parameters, which cannot contain 0..255; set "
                "its range in the manifest: `input: {mean: 128, std: 1}` for brightness - 128"
            )
        return 0.0, 255.0
    if customary_range(tensor) is None:
        raise ModelError(
            f"its input {tensor.name} ({tensor.dtype}, scale {tensor.scale[0]:g}, zero point {tensor.zero_point[0]}) "
            f"does not have one of the usual ranges of brightness; {_remedy(tensor)}"
        )
    return _own_range(tensor)


def _remedy(tensor: Tensor) -> str:
    """Return the remedy for an error text. An input with one channel is often not a picture at all."""
    signal = "; if it is a model of sound or samples: `input: {features: …}`" if 1 in tensor.shape[1:] else ""
    return REMEDY + signal


def _own_range(tensor: Tensor) -> tuple[float, float]:
    limits, scale, zero = np.iinfo(tensor.dtype), tensor.scale[0], tensor.zero_point[0]
    return scale * (int(limits.min) - zero), scale * (int(limits.max) - zero)


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> NDArray[np.float64]:
    if len(values) not in (1, channels) or not np.isfinite(values).all():
        raise ModelError(
            f"the manifest's `input: {name}` has {len(values)} numbers; expected one, or one for each of the "
            f"{channels} colour channels"
        )
    return np.array(values, np.float64)
