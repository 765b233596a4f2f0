"""Functions that decoders share: comparing stored scores with a threshold, and validation of boxes and bodies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Bodies, Boxes


def stored(tensor: Tensor, real: float) -> float:
    """Return the stored value that represents ``real``, not rounded.

    Thresholds are converted in this way, so that scores below them need not be dequantized.
    """
    return real / tensor.scale[0] + tensor.zero_point[0] if tensor.quantized else real


def logit(score: float) -> float:
    """Return the inverse sigmoid of ``score``; infinite at 0 and 1."""
    if score <= 0.0 or score >= 1.0:
        return -math.inf if score <= 0.0 else math.inf
    return math.log(score / (1.0 - score))


def sigmoid(values: Array) -> Array:
    """Return 1 / (1 + e^-x), with x clipped to -80..80, where float32 saturates; NaN for non-finite values."""
    result: Array = np.reciprocal(np.exp(-np.clip(values, -80.0, 80.0)) + np.float32(1.0))
    result[~np.isfinite(values)] = np.nan
    return result


def holds_scores(output: Tensor) -> bool:
    """Return whether the range of real values of a quantized tensor is 0..1, within two quantization steps."""
    if not output.quantized:
        return False
    scale = output.scale[0]
    low, high = span(output)
    return abs(low) <= scale and abs(high - 1.0) <= 2.0 * scale


def span(output: Tensor) -> tuple[float, float]:
    """Return the least and the greatest real value of a quantized tensor."""
    limits, scale, zero = np.iinfo(output.dtype), output.scale[0], output.zero_point[0]
    return scale * (int(limits.min) - zero), scale * (int(limits.max) - zero)


def best_classes(
    scores: NDArray[Any], limit: float, *, background: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of ``scores`` ``[n, classes]`` whose best score reaches ``limit``, and the best class of each.

    Scores and ``limit`` are values as the tensor stores them, not dequantized. A NaN counts as reaching the limit, so
    that later steps can count it. With ``background`` the first column holds the background, and the second column is
    class 0. Comparing all scores with the limit first takes a third of the time of computing the maximum of each row.
    """
    below = scores < limit
    below[:, : int(background)] = True
    hits = np.flatnonzero(np.logical_not(below, out=below)) // scores.shape[1]
    rows = hits[np.flatnonzero(np.diff(hits, prepend=-1))]
    return rows, scores[rows, int(background) :].argmax(axis=1)


def sound_boxes(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    *,
    merged: bool = False,
    shares: Array | None = None,
) -> Boxes:
    """Return the finite candidates whose box has an area, and the number of non-finite candidates.

    Scores are clipped to 0..1.
    """
    if not len(boxes):  # usual: nothing was found in the frame
        return Boxes(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), merged, 0, shares)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    good = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Boxes(
        boxes=boxes[good].astype(np.float32),
        scores=np.clip(scores[good], 0.0, 1.0).astype(np.float32),
        classes=classes[good].astype(np.int32),
        merged=merged,
        nonfinite=int(np.count_nonzero(~finite)),
        shares=None if shares is None else shares[good],
    )


def corners(centered: Array) -> Array:
    """Convert rows ``[4, n]`` of centre x, centre y, width, height to boxes ``[n, 4]`` xmin, ymin, xmax, ymax."""
    centers, halves = centered[:2], centered[2:] / np.float32(2.0)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
        boxes: Array = np.concatenate((centers - halves, centers + halves)).T
    return boxes


# Validation of bodies, shared by the pose decoders.


def sound_bodies(points: NDArray[Any], scores: NDArray[Any], boxes: Array | None = None) -> Bodies:
    """Return the finite bodies and the number of non-finite bodies; scores are clipped to 0..1.

    ``points`` is ``[n, k, 3]`` as x, y, score. If ``boxes`` ``[n, 4]`` are given, bodies whose box has no area are also
    dropped.
    """
    finite = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(scores)
    good = finite
    if boxes is not None:
        finite = finite & np.isfinite(boxes).all(axis=1)
        good = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    kept = points[good].astype(np.float32)
    kept[:, :, 2] = np.clip(kept[:, :, 2], 0.0, 1.0)
    return Bodies(
        points=kept,
        scores=np.clip(scores[good], 0.0, 1.0).astype(np.float32),
        boxes=None if boxes is None else boxes[good].astype(np.float32),
        nonfinite=int(np.count_nonzero(~finite)),
    )


# Decoding of rows ``[x, y, w, h, objectness, classes…]`` with the score objectness x class score.

COLUMNS: Final = 5
"""Number of columns before the first class score."""


@dataclass(frozen=True, slots=True)
class Picked:
    """Selected rows: their indices in the head (``places``), raw ``boxes`` ``[4, n]``, scores and classes."""

    places: NDArray[np.intp]
    boxes: Array
    scores: Array
    classes: NDArray[np.intp]


def pick(output: Tensor, head: NDArray[Any], threshold: float) -> Picked:
    """Return the best class of each row of ``head`` ``[n, 5 + classes]`` whose score is not below the threshold.

    Objectness and class score are at most 1, so a row with an objectness below the threshold can be skipped.
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
