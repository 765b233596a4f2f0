"""Statistics for drift detection: the difference of two histograms, cumulative sums of deviations, and extreme values.

The user states the expected time between false alarms. Every threshold follows from that time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_OVERSHOOT: Final = 1.166
"""Correction of the boundary of a cumulative sum, because its steps are discrete (Siegmund, Sequential Analysis, 1985,
10.2)."""
_EULER: Final = 0.5772156649
"""Mean of a standard Gumbel distribution."""
_LEAST_SHARE: Final = 1e-4
"""Share that replaces the share 0 of an empty bin."""


# Difference of two histograms.


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
    """Return the mean of `psi` for two samples of these sizes from one distribution.

    For such samples `psi` is distributed as ``(1/n + 1/m)`` times a chi-squared variable with ``bins - 1`` degrees of
    freedom (Yurdakul, 2018).
    """
    return (bins - 1) * (1.0 / reference + 1.0 / window)


# The cumulative sum of deviations (CUSUM).


def run_length(threshold: float, allowance: float) -> float:
    """Return the expected number of steps until a one-sided CUSUM reaches ``threshold``, if there is no shift.

    Both arguments are in standard deviations of independent normal steps (Siegmund's approximation).
    """
    bound = 2.0 * allowance * (threshold + _OVERSHOOT)
    return (math.exp(bound) - bound - 1.0) / (2.0 * allowance * allowance)


def cusum_threshold(steps: float, allowance: float) -> float:
    """Return the threshold with which a one-sided CUSUM raises one false alarm in ``steps`` steps on average."""
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
        """Add a step; return the larger of the two sums, with a negative sign if it is the downward sum."""
        self.upper = max(0.0, self.upper + step - self.allowance)
        self.lower = max(0.0, self.lower - step - self.allowance)
        return self.upper if self.upper >= self.lower else -self.lower

    def reset(self) -> None:
        """Set both sums to 0."""
        self.upper = self.lower = 0.0


# Extreme values.


@dataclass(slots=True)
class Extremes:
    """The largest value of a statistic in each block of time.

    For many parent distributions, and also for correlated values, these maxima follow a Gumbel distribution (Coles, An
    Introduction to Statistical Modeling of Extreme Values, 2001, chapters 3 and 5). The parameters of the distribution
    are estimated from mean and variance.
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
        """Return the level that one in ``blocks`` blocks is expected to exceed, plus twice its standard error.

        The level is infinite with fewer than two blocks.
        """
        if self.count < 2:
            return math.inf
        mean = self.total / self.count
        variance = max(0.0, self.squares - self.count * mean * mean) / (self.count - 1)
        scale = math.sqrt(6.0 * variance) / math.pi
        reduced = -math.log(-math.log1p(-1.0 / max(2.0, blocks)))
        error = math.sqrt((1.11 + 0.52 * reduced + 0.61 * reduced * reduced) / self.count)
        return mean + scale * (reduced - _EULER + 2.0 * error)


# Mean, spread and autocorrelation of the windows of a signal that depends on the time of day.

HOURS: Final = 24
_FEW: Final = 8
"""Minimum number of windows for an estimate."""


@dataclass(slots=True)
class DailySignal:
    """Means of a signal by hour of the day, and the variation of its windows around them.

    The residual of a window is computed before the window is added to the mean, so it includes the error of the mean.
    ``pairs`` counts the windows that directly follow another window.
    """

    counts: list[int] = field(default_factory=lambda: [0] * HOURS)
    means: list[float] = field(default_factory=lambda: [0.0] * HOURS)
    residuals: int = 0
    squares: float = 0.0
    pairs: int = 0
    products: float = 0.0

    @property
    def count(self) -> int:
        """Number of windows."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Mean of all windows."""
        return sum(count * mean for count, mean in zip(self.counts, self.means, strict=True)) / max(1, self.count)

    def add(self, hour: int, value: float, before: float | None, *, varying: bool) -> float | None:
        """Add a window and return its residual; None if there is no mean for the hour yet.

        With ``varying`` the residual also counts for the spread. ``before`` is the residual of the previous window;
        None if there was none.
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
        """Return the correlation of a window with the previous window, plus its standard error; at most 0.98.

        The correlation is corrected for the bias of a short series (Kendall, 1954).
        """
        found = self._correlation()
        if self.pairs < _FEW:
            return 0.0
        error = (1.0 + 3.0 * found) / self.pairs + math.sqrt((1.0 - found * found) / self.pairs)
        return min(0.98, found + error)

    def step_spread(self) -> float:
        """Return the standard deviation of the part of a window that the previous window does not explain.

        The value is the upper end of its confidence range (one standard error). It is infinite with too few windows.
        """
        if self.residuals < _FEW:
            return math.inf
        found, used = self._correlation(), self.correlation()
        variance = self.squares / self.residuals * (1.0 - 2.0 * used * found + used * used)
        return math.sqrt(max(0.0, variance)) * (1.0 + 1.0 / math.sqrt(2.0 * self.residuals))

    def _correlation(self) -> float:
        variance = self.squares / self.residuals if self.residuals else 0.0
        return min(1.0, max(0.0, self.products / self.pairs / variance)) if self.pairs and variance > 0.0 else 0.0
