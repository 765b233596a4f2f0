"""Real numbers into a tensor of any type: ``stored = round(real / scale) + zero_point``, half to even, clipped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor


def store(real: NDArray[Any], tensor: Tensor, into: NDArray[Any]) -> None:
    """Fills ``into``, a view of the tensor, with ``real`` of as many numbers; an integer tensor may have no scale."""
    flat = real.reshape(into.shape)
    if into.dtype.kind == "f":
        limit = np.finfo(into.dtype).max
        into[...] = np.clip(flat, -limit, limit)
        return
    stored = np.rint(flat / tensor.scale[0] + tensor.zero_point[0] if tensor.quantized else flat)
    limits = np.iinfo(into.dtype)
    into[...] = np.clip(stored, limits.min, limits.max)
