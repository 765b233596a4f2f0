"""Sliding windows over a stream of rows, for additions of any size."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float64]
"""``[n, values]``."""


class Gatherer:
    """Buffer that gathers rows into windows; it holds at most one window and one addition."""

    def __init__(self, need: int, step: int) -> None:
        """Set the window to ``need`` rows and the distance to the next one to ``step`` rows, both at least 1."""
        self._need = need
        self._step = step
        self.clear()

    def clear(self) -> None:
        """Drop the gathered rows; the next window begins with the next row."""
        self._blocks: list[Rows] = []
        self._count = 0
        self._skip = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows, possibly none."""
        rows = self._after_skip(rows)
        if len(rows):
            self._blocks.append(np.asarray(rows, np.float64))
            self._count += len(rows)

    def take(self) -> tuple[Rows, int] | None:
        """Return the next window, a view, and the number of rows after it; None until it is complete."""
        if self._count < self._need:
            return None
        rows = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        window, after = rows[: self._need], self._count - self._need
        rest = rows[self._step :]
        self._skip = max(0, self._step - self._count)
        self._blocks = [rest if len(rest) >= self._need else rest.copy()]  # a view would keep a whole large block alive
        self._count = len(rest)
        return window, after

    def _after_skip(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Drop rows between two windows at once, if the step is longer than a window."""
        skipped = min(self._skip, len(rows))
        self._skip -= skipped
        return rows[skipped:]
