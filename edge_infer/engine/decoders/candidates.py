"""What decoders share: comparing stored scores with a threshold, and boxes that are fit to be handed on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Array, Boxes


def stored(tensor: Tensor, real: float) -> float:
    """The stored value, not rounded, that stands for a real one: thresholds are compared before dequantizing."""
    return real / tensor.scale[0] + tensor.zero_point[0] if tensor.quantized else real


def logit(score: float) -> float:
    """The value whose sigmoid is ``score``; infinite at 0 and 1."""
    if score <= 0.0 or score >= 1.0:
        return -math.inf if score <= 0.0 else math.inf
    return math.log(score / (1.0 - score))


def sigmoid(values: Array) -> Array:
    """1 / (1 + e^-x) without overflow, beyond 80 float32 sees no difference; NaN for what is not finite."""
    result: Array = np.reciprocal(np.exp(-np.clip(values, -80.0, 80.0)) + np.float32(1.0))
    result[~np.isfinite(values)] = np.nan
    return result


def holds_scores(output: Tensor) -> bool:
    """Whether a quantized tensor can hold 0..1, within two steps, and nothing else."""
    if not output.quantized:
        return False
    scale = output.scale[0]
    low, high = span(output)
    return abs(low) <= scale and abs(high - 1.0) <= 2.0 * scale


def span(output: Tensor) -> tuple[float, float]:
    """The least and the greatest real value that a quantized tensor can hold."""
    limits, scale, zero = np.iinfo(output.dtype), output.scale[0], output.zero_point[0]
    return scale * (int(limits.min) - zero), scale * (int(limits.max) - zero)


def best_classes(
    scores: NDArray[Any], limit: float, *, background: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of stored ``scores`` ``[n, classes]`` with something not below ``limit``, and the best class of each.

    NaN is not below, so that it can be counted. With a ``background`` the first column is no class, and classes count
    from the next. Comparing all first and looking at few rows takes a third of the time of a maximum over each row.
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
    """Candidates without those that are not finite, which are counted, and those without an area; scores in 0..1."""
    if not len(boxes):  # as in most frames of most cameras
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
    """Boxes ``[n, 4]`` as xmin, ymin, xmax, ymax from rows ``[4, n]`` of centre x, centre y, width and height."""
    centers, halves = centered[:2], centered[2:] / np.float32(2.0)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is left out later, and counted
        boxes: Array = np.concatenate((centers - halves, centers + halves)).T
    return boxes
