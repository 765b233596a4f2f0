"""Windows over a stream of rows: so many rows at a time, a new one every so many rows, whatever sizes they come in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float64]
"""``[n, values]``."""


class Gatherer:
    """Gathers rows until there are enough for a window; holds one window and one addition at most."""

    def __init__(self, need: int, step: int) -> None:
        """A window is ``need`` rows, and the next one begins ``step`` rows after it began; both at least 1."""
        self._need = need
        self._step = step
        self.clear()

    def clear(self) -> None:
        """Forgets what was gathered; the next window begins with the next row."""
        self._blocks: list[Rows] = []
        self._count = 0
        self._skip = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Some more rows, also none."""
        rows = self._after_skip(rows)
        if len(rows):
            self._blocks.append(np.asarray(rows, np.float64))
            self._count += len(rows)

    def take(self) -> tuple[Rows, int] | None:
        """The next window, a view, and how many rows have come after its last one; None as long as it is not whole."""
        if self._count < self._need:
            return None
        rows = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        window, after = rows[: self._need], self._count - self._need
        rest = rows[self._step :]
        self._skip = max(0, self._step - self._count)
        self._blocks = [rest if len(rest) >= self._need else rest.copy()]  # a view would keep all of a large block
        self._count = len(rest)
        return window, after

    def _after_skip(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows between two windows, where the step is longer than a window, are let go at once."""
        skipped = min(self._skip, len(rows))
        self._skip -= skipped
        return rows[skipped:]
