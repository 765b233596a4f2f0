"""Calibration: how often items with a score are right, compared with that score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_infer.evaluate.matching import Flags, Floats

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Items with scores from ``low`` to ``high``: their number, mean score, and share of right ones."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The reliability diagram; ``error`` is the expected calibration error (Naeini 2015), None without items."""

    bins: tuple[ScoreBin, ...]
    error: float | None


def calibrate(scores: Floats, right: Flags) -> Calibration:
    """Return the calibration over ten bins of equal width; empty bins are left out."""
    numbers = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    sums, hits = (np.bincount(numbers, values, BINS) for values in (scores, right.astype(np.float64)))
    bins = tuple(
        ScoreBin(n / BINS, (n + 1) / BINS, int(counts[n]), float(sums[n] / counts[n]), float(hits[n] / counts[n]))
        for n in np.flatnonzero(counts).tolist()
    )
    apart = sum(each.count * abs(each.score - each.right) for each in bins)
    return Calibration(bins, apart / len(scores) if len(scores) else None)
