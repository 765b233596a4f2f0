"""Bootstrap intervals, and whether one of two models is better on the same examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from edge_infer.evaluate.matching import Floats

ROUNDS: Final = 1000
MIN_ROUNDS: Final = 200
WORK: Final = 100_000_000
"""Additions that all rounds together may take for one figure: some seconds on a small board."""
MIN_EXAMPLES: Final = 10
"""Minimum number of examples for an interval: with fewer, the drawn samples are too similar."""
SEED: Final = 20
SHARE: Final = 0.95
"""Share of the rounds inside of an interval."""

Verdict = Literal["better", "worse", "unclear"]
Figures: TypeAlias = Callable[[Floats], Floats]
"""Function from weights of the examples to some figures. The weight of an example is the number of times it was
drawn."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The range that holds a figure in 95 of 100 evaluations on other examples of the same kind."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of the second model minus the same figure of the first, on the same examples."""

    value: float
    interval: Interval
    verdict: Verdict

    @property
    def known(self) -> bool:
        """Return whether there is an interval."""
        return math.isfinite(self.interval.low)


def rounds_for(work: int) -> int:
    """Return the number of rounds for figures that take this many additions."""
    return max(MIN_ROUNDS, min(ROUNDS, WORK // max(1, work)))


def draws(examples: int, rounds: int) -> Iterator[Floats]:
    """Yield how often each example is drawn, for each round; always the same."""
    random = np.random.default_rng(SEED)
    for _ in range(rounds):
        yield np.bincount(random.integers(0, examples, examples), minlength=examples).astype(np.float64)


def intervals(figures: Figures, examples: int, work: int) -> list[Interval]:
    """Return the interval of each figure; its ends are NaN with fewer than `MIN_EXAMPLES` examples."""
    return _between(_drawn(figures, examples, work))


def differences(
    first: Figures, second: Figures, examples: int, work: int, *, more_is_better: bool = True
) -> list[Difference]:
    """Return the difference of the second model from the first in each figure. Both get the same drawn examples."""
    apart = _drawn(lambda weights: second(weights) - first(weights), examples, work)
    whole = np.ones(examples)
    return [
        Difference(value, found, _verdict(found, more_is_better=more_is_better))
        for value, found in zip((second(whole) - first(whole)).tolist(), _between(apart), strict=True)
    ]


def _drawn(figures: Figures, examples: int, work: int) -> Floats:
    """Return the figures of each round, ``[rounds, figures]``."""
    if examples < MIN_EXAMPLES:
        return np.full((1, len(figures(np.ones(examples)))), np.nan)
    return np.array([figures(weights) for weights in draws(examples, rounds_for(work))])


def _verdict(found: Interval, *, more_is_better: bool) -> Verdict:
    if not (found.low > 0 or found.high < 0):
        return "unclear"
    return "better" if (found.low > 0) == more_is_better else "worse"


def could_be_chance(first_only: int, second_only: int) -> bool:
    """Return whether the numbers of examples that only one of two models gets right may be chance (exact McNemar test).

    With few examples a bootstrap would be too certain of a small difference.
    """
    count, least = first_only + second_only, min(first_only, second_only)
    if not count:
        return True
    if count > _MANY:
        return abs(first_only - second_only) - 1 <= _TWO_SIDED * math.sqrt(count)
    tail = sum(math.comb(count, each) for each in range(least + 1)) / (1 << count)
    return 2 * tail > 1 - SHARE


_MANY: Final = 1000
"""Number of examples above which the normal distribution replaces exact sums."""
_TWO_SIDED: Final = 1.959964


def _between(values: Floats) -> list[Interval]:
    """Return the interval of each column; rounds in which a figure has no value do not count."""
    found = []
    for column in values.T:
        usable = column[np.isfinite(column)]
        ends = np.quantile(usable, [(1 - SHARE) / 2, (1 + SHARE) / 2]) if len(usable) else np.full(2, np.nan)
        found.append(Interval(float(ends[0]), float(ends[1])))
    return found
