"""Detects outputs that a healthy model may repeat for many different inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAME: Final = 20
"""Number of different inputs whose outputs may not be bit-identical, unless the outputs are `quiet`."""
FEW: Final = 4
BYTES: Final = ("int8", "uint8", "bool")


def quiet(tensors: Sequence[NDArray[Any]]) -> bool:
    """Return whether the outputs are bytes, and are either at most four or all saturated.

    Saturated means: both the lowest and the highest value occur, and no other.

    A wake word model returns 0 for everything but the word. A face detector's grid returns "nothing" for a whole night,
    in every cell, with all the certainty of eight bits. A broken model repeats its outputs as well, but hardly these.
    """
    if not all(values.dtype.name in BYTES for values in tensors):
        return False
    if sum(values.size for values in tensors) <= FEW:
        return True
    return all(_sure(values) for values in tensors)


def _sure(values: NDArray[Any]) -> bool:
    low, high = (0, 1) if values.dtype == np.bool_ else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    lows, highs = np.count_nonzero(values == low), np.count_nonzero(values == high)
    return bool(lows and highs and lows + highs == values.size)
