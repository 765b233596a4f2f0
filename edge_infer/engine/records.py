"""What decoders hand on: arrays of candidates, not yet filtered by label, merged or cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Candidate boxes of a detector.

    ``boxes`` is ``[n, 4]`` as xmin, ymin, xmax, ymax in fractions of the model's input (letterbox borders included);
    ``scores`` is ``[n]`` in 0..1 and ``classes`` ``[n]`` with class ids from 0 that index the labels. ``merged`` is
    true when the model has already suppressed overlapping boxes itself. All values are finite; ``nonfinite`` counts
    the candidates that were left out because the model said NaN or infinity, which a sound one never does.
    """

    boxes: Array
    scores: Array
    classes: NDArray[np.int32]
    merged: bool = False
    nonfinite: int = 0


@dataclass(frozen=True, slots=True)
class Classes:
    """Scores of a classifier: ``scores`` is ``[labels]`` in 0..1, by class id; ``nonfinite`` counts as in `Boxes`."""

    scores: Array
    nonfinite: int = 0


Candidates: TypeAlias = Boxes | Classes
"""Whatever a decoder returns; `edge_infer.engine.outcome` has one way to go on for each."""
