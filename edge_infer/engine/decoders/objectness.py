"""Heads of rows ``[x, y, w, h, objectness, classes…]`` whose score is objectness x class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.decoders.candidates import stored
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array

COLUMNS: Final = 5
"""Numbers before the classes."""


@dataclass(frozen=True, slots=True)
class Picked:
    """Selected rows: ``places`` in the head, raw ``boxes`` ``[4, n]``, scores and classes."""

    places: NDArray[np.intp]
    boxes: Array
    scores: Array
    classes: NDArray[np.intp]


def pick(output: Tensor, head: NDArray[Any], threshold: float) -> Picked:
    """Return the best class of each row of ``head`` ``[n, 5 + classes]`` whose score is not below the threshold.

    Both factors are at most 1, so a row whose objectness is below the threshold is skipped.
    """
    places = np.flatnonzero(~(head[:, 4] < stored(output, threshold)))  # keeps NaN, to count it
    if not places.size:
        nothing = np.empty(0, np.float32)
        return Picked(places, nothing.reshape(4, 0), nothing, places)
    rows = output.dequantize(head[places])
    classes = rows[:, COLUMNS:].argmax(axis=1)
    best = rows[np.arange(len(rows)), COLUMNS + classes]
    with np.errstate(over="ignore", invalid="ignore"):
        scores = rows[:, 4] * np.minimum(best, np.float32(1.0))
    kept = ~(scores < threshold)
    return Picked(places[kept], rows[kept, :4].T, scores[kept], classes[kept])
