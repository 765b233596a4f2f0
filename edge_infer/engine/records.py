"""Results of decoders: arrays of candidates, before filtering by label, merging and limiting their number."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import FrameRecord

Array: TypeAlias = NDArray[np.float32]


class Boxes(FrameRecord, frozen=True):
    """Candidate boxes of a detector.

    ``boxes`` is ``[n, 4]`` as xmin, ymin, xmax, ymax in fractions of the model's input (letterbox borders included);
    ``scores`` is ``[n]`` in 0..1 and ``classes`` ``[n]`` with class ids from 0 that index the labels. ``merged`` is
    true if the model has already suppressed overlapping boxes. All values are finite; ``nonfinite`` counts the
    candidates that were dropped because the model returned NaN or infinity, which a sound model never does. ``shares``,
    ``[n]`` in 0..1, is the fraction of each box that its object fills, if the model provides it.
    """

    boxes: Array
    scores: Array
    classes: NDArray[np.int32]
    merged: bool = False
    nonfinite: int = 0
    shares: Array | None = None


class Classes(FrameRecord, frozen=True):
    """Scores of a classifier: ``scores`` is ``[labels]`` in 0..1, by class id; ``nonfinite`` is as in `Boxes`."""

    scores: Array
    nonfinite: int = 0


class Bodies(FrameRecord, frozen=True):
    """Candidate poses: ``points`` is ``[n, k, 3]`` as x, y in fractions of the model's input and score in 0..1.

    ``scores`` is ``[n]``; ``boxes``, ``[n, 4]`` as in `Boxes`, serves to merge overlapping poses, if the model provides
    it.
    """

    points: Array
    scores: Array
    boxes: Array | None = None
    nonfinite: int = 0


class Regions(FrameRecord, frozen=True):
    """The class of each pixel of the model's input: ``classes`` is ``[height, width]`` with class ids."""

    classes: NDArray[np.int32]
    nonfinite: int = 0


class Distance(FrameRecord, frozen=True):
    """Distance of one frame from normal, at least 0; NaN if the model's output is not finite."""

    score: float
    nonfinite: int = 0


class Numbers(FrameRecord, frozen=True):
    """Values of a regression, ``[values]``, in the order of the manifest; NaN where the output is not finite."""

    values: Array
    nonfinite: int = 0


Candidates: TypeAlias = Boxes | Classes | Bodies | Regions | Distance | Numbers
"""Any result of a decoder; `edge_infer.engine.tasks` handles each kind."""
