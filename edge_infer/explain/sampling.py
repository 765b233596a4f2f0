"""Estimates the contribution of each cell of an input to an answer, from runs in which random cells are hidden.

The method is RISE (Petsiuk, Das, Saenko: "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC
2018, arXiv 1806.07421), and for boxes D-RISE (Petsiuk et al.: "Black-box Explanation of Object Detectors via Saliency
Maps", CVPR 2021, arXiv 2006.03204), with two differences:

- Sums are kept instead of masks, so that the memory does not grow with their number.
- The sums also count the runs in which two cells were visible together. A linear fit (as in LIME, Ribeiro et al. 2016)
  then separates neighbouring cells, which in the weighted mean of masks share their evidence, and gives each cell an
  error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Cells: TypeAlias = NDArray[np.float64]
"""``[cells]``, one number for each."""
Visible: TypeAlias = NDArray[np.bool_]
"""``[cells]``: which cells a run of the model sees."""
Progress: TypeAlias = Callable[[int, int], None]
"""Callback with the number of runs so far, and the maximum number of runs."""
Stop: TypeAlias = Literal["agreed", "budget", "interrupted", "unchanged"]

AGREED: Final = 0.95
"""Rank correlation of the two halves at which the sampling stops."""
SHARES: Final = (0.5, 0.7, 0.85, 0.95)
"""Tried shares of visible cells. With fewer hidden cells, more of a demanding answer survives."""
PILOT: Final = 24
"""Number of runs for each of `SHARES`. These runs only serve to choose a share."""
BATCH: Final = 32
"""Number of runs after which the collected visible cells are added to the sums."""
CHECK: Final = 128
"""Number of runs between two checks of the agreement."""
LEAST: Final = 3
"""Number of runs for each cell before the first check."""
CHANCE: Final = 3.0
"""Number of standard errors up to which a contribution may be chance and counts as 0."""
SMALLEST: Final = 1e-9


class CellSums:
    """Sums over runs: of answers, of visible cells, and of their products."""

    def __init__(self, cells: int) -> None:
        self.runs = 0
        self._answer = self._square = 0.0
        self._visible = np.zeros(cells)
        self._weighted = np.zeros(cells)
        self._pairs = np.zeros((cells, cells))

    def add(self, visible: NDArray[np.bool_], answers: Cells) -> None:
        """Add runs, ``[runs, cells]`` and ``[runs]``."""
        seen = visible.astype(np.float64)
        self.runs += len(answers)
        self._answer += float(answers.sum())
        self._square += float((answers**2).sum())
        self._visible += seen.sum(axis=0)
        self._weighted += answers @ seen
        self._pairs += seen.T @ seen

    def plus(self, other: CellSums) -> CellSums:
        """Return the sums of both objects together."""
        both = CellSums(len(self._visible))
        both.runs = self.runs + other.runs
        both._answer, both._square = self._answer + other._answer, self._square + other._square
        both._visible, both._weighted = self._visible + other._visible, self._weighted + other._weighted
        both._pairs = self._pairs + other._pairs
        return both

    def weighted_masks(self) -> Cells:
        """Return the mean answer of the runs that saw a cell, minus the mean of all: the weighted sum of (D-)RISE."""
        return self._weighted / np.maximum(self._visible, 1.0) - self._answer / max(self.runs, 1)

    def fit(self) -> tuple[Cells, Cells]:
        """Return each cell's contribution to the answer, and its standard error.

        The fit is a ridge regression; its penalty vanishes with the number of runs, so that few runs give small
        contributions instead of wild ones.
        """
        runs, cells = self.runs, len(self._visible)
        share, mean = self._visible / runs, self._answer / runs
        spread = self._pairs / runs - np.outer(share, share)
        common = self._weighted / runs - share * mean
        penalty = max(float(np.diag(spread).mean()) * (cells / runs) ** 2, SMALLEST)
        inverse = np.linalg.inv(spread + penalty * np.eye(cells))
        found = inverse @ common
        variance = max(self._square / runs - mean**2, 0.0)
        rest = max(variance - 2 * float(found @ common) + float(found @ spread @ found), 0.0)
        error = np.sqrt(np.diag(inverse) * rest / max(runs - cells, runs / 4, 1.0))
        return found, np.asarray(error, np.float64)

    def evidence(self) -> Cells:
        """Return the contributions that are beyond chance; the others are 0."""
        found, error = self.fit()
        return np.where(np.abs(found) > CHANCE * error + SMALLEST, found, 0.0)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The outcome of a `Sampler`: ``evidence`` are the ``contributions`` that are beyond chance.

    ``runs`` is the number of counted runs, ``agreement`` the rank correlation of the evidence from their two halves,
    ``share`` the share of the cells that each of them saw, and ``stop`` the reason why the sampling ended.
    """

    evidence: Cells
    contributions: Cells
    runs: int
    agreement: float
    share: float
    stop: Stop


class Question(Protocol):
    """An input cut into cells, and the answer that is explained."""

    cells: int
    fills: int
    """Number of ways to fill hidden cells, the usual way first; the other ways serve if the usual way changes
    nothing."""

    def __call__(self, visible: Visible, fill: int) -> float:
        """Run the model with only these cells visible; return the answer's strength."""


class Sampler:
    """Runs the model until the two halves of the runs agree or the budget is used; deterministic for a seed."""

    def __init__(self, question: Question, seed: int, budget: int, progress: Progress) -> None:
        self._question = question
        self._dice = np.random.default_rng(seed)
        self._budget = budget
        self._progress = progress
        self._done = 0
        self._share, self._fill = SHARES[0], 0
        self.halves = (CellSums(question.cells), CellSums(question.cells))

    def run(self) -> Sampled:
        """Return the outcome of the sampling; Ctrl-C ends the sampling early with the outcome so far."""
        stop: Stop = "budget"
        looks = 0
        try:
            if not self._choose():
                return self._outcome("unchanged")
            while self._done < self._budget:
                self._add(min(BATCH, self._budget - self._done))
                runs = self.halves[0].runs + self.halves[1].runs
                if runs % CHECK == 0 and runs >= LEAST * self._question.cells:
                    looks = looks + 1 if self._agreement() >= AGREED else 0
                    if looks == 2:  # one check may agree by chance
                        stop = "agreed"
                        break
        except KeyboardInterrupt:
            stop = "interrupted"
        return self._outcome(stop)

    def _choose(self) -> bool:
        """Choose filling and share so that the answer changes most; return whether it changes at all.

        The choice does not depend on the seed, so that two seeds explain the same.
        """
        dice = np.random.default_rng(0)
        for fill in range(self._question.fills):
            self._fill = fill
            spreads = [float(self._answers(self._drawn(dice, share, PILOT)).std()) for share in SHARES]
            if max(spreads) > SMALLEST:
                self._share = SHARES[int(np.argmax(spreads))]
                return True
        return False

    def _drawn(self, dice: np.random.Generator, share: float, runs: int) -> NDArray[np.bool_]:
        return dice.random((runs, self._question.cells)) < share

    def _answers(self, visible: NDArray[np.bool_]) -> Cells:
        found = np.array([self._question(row, self._fill) for row in visible])
        self._done += len(visible)
        self._progress(self._done, self._budget)
        return found

    def _add(self, runs: int) -> None:
        visible = self._drawn(self._dice, self._share, runs)
        answers = self._answers(visible)
        for half, sums in enumerate(self.halves):
            sums.add(visible[half::2], answers[half::2])

    def _agreement(self) -> float:
        return rank_correlation(*(half.evidence() for half in self.halves))

    def _outcome(self, stop: Stop) -> Sampled:
        if not all(half.runs for half in self.halves):
            nothing = np.zeros(self._question.cells)
            return Sampled(nothing, nothing, 0, 0.0, self._share, stop)
        both = self.halves[0].plus(self.halves[1])
        return Sampled(both.evidence(), both.fit()[0], both.runs, self._agreement(), self._share, stop)


def rank_correlation(one: Cells, other: Cells) -> float:
    """Return Spearman's rank correlation; equal values get their mean rank. 0 if all values of one side are equal."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (one, other)]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / size if size else 0.0


def _ranks(values: Cells) -> Cells:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[group.reshape(-1)], np.float64)
