"""Outputs that may well be the same for many different inputs, without the model being out of order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAME: Final = 20
"""So many differing inputs may not have bit-equal outputs, unless these are `quiet`."""
FEW: Final = 4
BYTES: Final = ("int8", "uint8", "bool")


def quiet(tensors: Sequence[NDArray[Any]]) -> bool:
    """Whether the outputs are of bytes, and at most four of them, or all of them sure: at both ends and nowhere else.

    A wake word says 0 to whatever is not the word, and a grid of faces says "nothing" of a whole night, cell by cell,
    as surely as eight bits can. A model out of order says the same of everything, too, but hardly that.
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
