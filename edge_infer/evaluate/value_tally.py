"""Sums up the values of a regression: mean absolute error, root of the mean squared error, bias."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np

from edge_infer.evaluate.matching import Floats
from edge_infer.evaluate.scores import TaskScores, Wish


class ValueTally:
    """Errors of each value; an input without a plausible value counts as ``implausible`` only."""

    compared: tuple[str, ...] = ("mae",)
    more_is_better: bool = False

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._errors = array("d")  # of all values of each input, NaN where the model gave none

    @property
    def examples(self) -> int:
        """Number of inputs."""
        return len(self._errors) // len(self._names)

    @property
    def work(self) -> int:
        """Additions that one call of `figures` takes."""
        return 2 * len(self._errors) + 3000

    def add(self, errors: Sequence[float | None]) -> None:
        """Add the errors of an input, in the order of the names; None for an implausible value."""
        self._errors.extend(float("nan") if error is None else error for error in errors)

    def figures(self) -> Callable[[Floats], Floats]:
        """Return a function from weights of the inputs to the mean absolute error over all values."""
        errors = np.abs(self._table())
        some = np.isfinite(errors)

        def weighted(weights: Floats) -> Floats:
            counts = (some * weights[:, np.newaxis]).sum()
            return np.array(
                [(np.where(some, errors, 0.0) * weights[:, np.newaxis]).sum() / counts if counts else np.nan]
            )

        return weighted

    def scores(self, threshold: float, wishes: Sequence[Wish]) -> TaskScores:
        """Return all figures; the threshold and wishes of the other tasks have no meaning here."""
        del threshold, wishes
        table = self._table()
        figures: dict[str, float | None] = _figures("", table.reshape(-1))
        if len(self._names) > 1:
            for place, name in enumerate(self._names):
                figures |= _figures(f"{name} ", table[:, place])
        figures["implausible"] = float(np.isnan(table).sum())
        return TaskScores(figures)

    def _table(self) -> Floats:
        return np.array(self._errors, np.float64).reshape(-1, len(self._names))


def _figures(prefix: str, errors: Floats) -> dict[str, float | None]:
    some = errors[np.isfinite(errors)]
    if not len(some):
        return {f"{prefix}{name}": None for name in ("mae", "rmse", "bias")}
    return {
        f"{prefix}mae": float(np.abs(some).mean()),
        f"{prefix}rmse": float(np.sqrt((some**2).mean())),
        f"{prefix}bias": float(some.mean()),
    }
