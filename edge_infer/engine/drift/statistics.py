"""The statistics of drift: how far two histograms differ, when a sum of deviations is too large, and what is extreme.

A user states the expected time between false alarms. Every threshold follows from that time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_OVERSHOOT: Final = 1.166
"""Correction of the boundary of a cumulative sum for its discrete steps (Siegmund, Sequential Analysis, 1985, 10.2)."""
_EULER: Final = 0.5772156649
"""Mean of a standard Gumbel distribution."""
_LEAST_SHARE: Final = 1e-4
"""Share that stands for an empty bin of a histogram."""


# How far two histograms differ.


def psi(reference: Sequence[float], window: Sequence[float]) -> float:
    """Return the population stability index of two histograms, the symmetric relative entropy of their shares."""
    total, other = sum(reference), sum(window)
    if not total or not other:
        return 0.0
    shares = (
        (max(a / total, _LEAST_SHARE), max(b / other, _LEAST_SHARE)) for a, b in zip(reference, window, strict=True)
    )
    return sum((b - a) * math.log(b / a) for a, b in shares)


def psi_without_drift(bins: int, reference: float, window: float) -> float:
    """Return the mean of `psi` for samples of these sizes from one distribution.

    It is ``(1/n + 1/m)`` times a chi-squared variable with ``bins - 1`` degrees of freedom (Yurdakul, 2018).
    """
    return (bins - 1) * (1.0 / reference + 1.0 / window)


# The cumulative sum of deviations (CUSUM).


def run_length(threshold: float, allowance: float) -> float:
    """Return the expected number of steps of a one-sided CUSUM until it reaches ``threshold`` without a shift.

    Both are in standard deviations of independent normal steps (Siegmund's approximation).
    """
    bound = 2.0 * allowance * (threshold + _OVERSHOOT)
    return (math.exp(bound) - bound - 1.0) / (2.0 * allowance * allowance)


def cusum_threshold(steps: float, allowance: float) -> float:
    """Return the threshold at which a one-sided CUSUM is expected to alarm once in so many steps without a shift."""
    low, high = 0.0, 400.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if run_length(middle, allowance) < steps else (low, middle)
    return high


@dataclass(slots=True)
class Cusum:
    """A two-sided CUSUM of standardised steps (Page, 1954)."""

    allowance: float
    upper: float = 0.0
    lower: float = 0.0

    def add(self, step: float) -> float:
        """Add a step; return the larger sum, negative if that is the one of downward steps."""
        self.upper = max(0.0, self.upper + step - self.allowance)
        self.lower = max(0.0, self.lower - step - self.allowance)
        return self.upper if self.upper >= self.lower else -self.lower

    def reset(self) -> None:
        """Begin anew."""
        self.upper = self.lower = 0.0


# What is extreme.


@dataclass(slots=True)
class Extremes:
    """The largest values of a statistic, one for each block of time.

    They follow a Gumbel distribution for many parents, also for correlated values (Coles, An Introduction to
    Statistical Modeling of Extreme Values, 2001, chapters 3 and 5). Its parameters come from mean and variance.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, largest: float) -> None:
        """Add the largest value of a block."""
        self.count += 1
        self.total += largest
        self.squares += largest * largest

    def level(self, blocks: float) -> float:
        """Return the value that one block in ``blocks`` is expected to exceed, at the upper end of its uncertainty.

        The uncertainty is twice the standard error of this estimate. Infinite with fewer than two blocks.
        """
        if self.count < 2:
            return math.inf
        mean = self.total / self.count
        variance = max(0.0, self.squares - self.count * mean * mean) / (self.count - 1)
        scale = math.sqrt(6.0 * variance) / math.pi
        reduced = -math.log(-math.log1p(-1.0 / max(2.0, blocks)))
        error = math.sqrt((1.11 + 0.52 * reduced + 0.61 * reduced * reduced) / self.count)
        return mean + scale * (reduced - _EULER + 2.0 * error)


# Mean, spread and correlation of the windows of a signal that follows the time of day.

HOURS: Final = 24
_FEW: Final = 8
"""Windows below which nothing is estimated."""


@dataclass(slots=True)
class DailySignal:
    """The means of a signal by hour of the day, and how its windows vary around them.

    The residuals are those of windows that the means did not contain yet, so they include the error of the means.
    ``pairs`` are windows that follow each other.
    """

    counts: list[int] = field(default_factory=lambda: [0] * HOURS)
    means: list[float] = field(default_factory=lambda: [0.0] * HOURS)
    residuals: int = 0
    squares: float = 0.0
    pairs: int = 0
    products: float = 0.0

    @property
    def count(self) -> int:
        """The number of windows."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean of all windows."""
        return sum(count * mean for count, mean in zip(self.counts, self.means, strict=True)) / max(1, self.count)

    def add(self, hour: int, value: float, before: float | None, *, varying: bool) -> float | None:
        """Add a window; with ``varying``, count its residual too, and return it.

        ``before`` is the residual of the window before, if there was one. None without a mean of the hour.
        """
        residual = value - self.means[hour] if self.counts[hour] else None
        self.counts[hour] += 1
        self.means[hour] += (value - self.means[hour]) / self.counts[hour]
        if residual is not None and varying:
            self.residuals += 1
            self.squares += residual * residual
            if before is not None:
                self.pairs += 1
                self.products += residual * before
        return residual

    def correlation(self) -> float:
        """Return the correlation of a window with the one before, at the upper end of its uncertainty; at most 0.98.

        It is corrected for the bias of a short series (Kendall, 1954).
        """
        found = self._correlation()
        if self.pairs < _FEW:
            return 0.0
        error = (1.0 + 3.0 * found) / self.pairs + math.sqrt((1.0 - found * found) / self.pairs)
        return min(0.98, found + error)

    def step_spread(self) -> float:
        """Return the standard deviation of what a window adds to the part that the window before explains.

        It is at the upper end of its uncertainty (one standard error); infinite with too few windows.
        """
        if self.residuals < _FEW:
            return math.inf
        found, used = self._correlation(), self.correlation()
        variance = self.squares / self.residuals * (1.0 - 2.0 * used * found + used * used)
        return math.sqrt(max(0.0, variance)) * (1.0 + 1.0 / math.sqrt(2.0 * self.residuals))

    def _correlation(self) -> float:
        variance = self.squares / self.residuals if self.residuals else 0.0
        return min(1.0, max(0.0, self.products / self.pairs / variance)) if self.pairs and variance > 0.0 else 0.0
