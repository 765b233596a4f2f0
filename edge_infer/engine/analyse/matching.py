"""The boxes of one frame, and which object each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.analyse.assignment import assign
from edge_infer.engine.analyse.kalman import Rows, centred
from edge_infer.engine.tasks.detection import Found

GATE: Final = 20.0
"""Squared distance beyond which a box is another object's: once in two thousand times it would not be."""
UNASSIGNED: Final = 25.0
"""What it costs to leave an object and a box without each other: as unlikely is a stray box just there if every fifth
frame has one somewhere."""


@dataclass(slots=True)
class Matching:
    """``pairs`` are rows of objects and columns of boxes that belong together.

    ``measured`` are the boxes as centre, width and height; ``sure`` and ``unsure`` the columns of those from the
    threshold on, and below it.
    """

    measured: Rows
    classes: NDArray[np.int64]
    sure: list[int]
    unsure: list[int]
    pairs: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Sequence[Found], threshold: float) -> Matching:
        """The boxes of a frame, which are nobody's yet."""
        return cls(
            centred(np.array([found.box for found in objects], np.float64).reshape(-1, 4)),
            np.array([found.class_id for found in objects], np.int64),
            [column for column, found in enumerate(objects) if found.score >= threshold],
            [column for column, found in enumerate(objects) if found.score < threshold],
        )

    def free(self, columns: Sequence[int]) -> list[int]:
        """Those of these columns that are nobody's."""
        taken = set(self.pairs.values())
        return [column for column in columns if column not in taken]

    def take(self, cost: Rows, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Adds the best pairs of these rows and columns that are still free."""
        free_rows = [row for row in rows if row not in self.pairs]
        free_columns = self.free(columns)
        if free_rows and free_columns:
            for row, column in assign(cost[np.ix_(free_rows, free_columns)]):
                self.pairs[free_rows[row]] = free_columns[column]


def worth(squared: Rows, cost: Rows) -> Rows:
    """What pairs cost beside leaving both alone: below 0 where they belong together rather than not."""
    return np.where(squared < GATE, cost - UNASSIGNED, 0.0)
