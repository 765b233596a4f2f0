"""Validation of bodies, shared by decoders of poses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.records import Array, Bodies


def sound_bodies(points: NDArray[Any], scores: NDArray[Any], boxes: Array | None = None) -> Bodies:
    """Return the finite bodies and the number of the others; scores are clipped to 0..1.

    ``points`` is ``[n, k, 3]`` as x, y, score. With ``boxes`` ``[n, 4]``, bodies without an area are dropped, too.
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
