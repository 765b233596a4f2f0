"""Matching of the boxes of one frame with the existing tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.tasks.detection import Detection
from edge_infer.engine.tracking.assignment import assign
from edge_infer.engine.tracking.kalman import Rows, centred, overlaps

GATE: Final = 20.0
"""Squared distance beyond which a box belongs to another object. One in two thousand correct boxes exceeds this
distance."""
UNASSIGNED: Final = 25.0
"""Cost of leaving a track and a box unassigned. The cost equals the likelihood of a stray box at the position if every
fifth frame has a stray box somewhere."""
CROWDED: Final = 5.0
"""Reduction of `UNASSIGNED` for each other moving object, up to `MOST_OTHERS` objects, because a new object is then
more likely."""
MOST_OTHERS: Final = 2


@dataclass(slots=True)
class Matching:
    """Boxes of a frame; ``pairs`` maps rows of tracks to columns of boxes.

    ``measured`` holds the boxes as centre, width and height. ``sure`` holds the columns of the boxes whose score
    reaches the threshold, ``unsure`` all other columns.
    """

    measured: Rows
    classes: NDArray[np.int64]
    sure: list[int]
    unsure: list[int]
    pairs: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Sequence[Detection], threshold: float) -> Matching:
        """Return the boxes of a frame, none of them assigned yet."""
        return cls(
            centred(np.array([found.box for found in objects], np.float64).reshape(-1, 4)),
            np.array([found.class_id for found in objects], np.int64),
            [column for column, found in enumerate(objects) if found.score >= threshold],
            [column for column, found in enumerate(objects) if found.score < threshold],
        )

    def free(self, columns: Sequence[int]) -> list[int]:
        """Return the unassigned ones of these columns."""
        taken = set(self.pairs.values())
        return [column for column in columns if column not in taken]

    def take(self, cost: Rows, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Assign the best pairs of these rows and columns that are still free."""
        free_rows = [row for row in rows if row not in self.pairs]
        free_columns = self.free(columns)
        if free_rows and free_columns:
            for row, column in assign(cost[np.ix_(free_rows, free_columns)]):
                self.pairs[free_rows[row]] = free_columns[column]


def price_of_new(others: int) -> float:
    """Return the cost of leaving a track and a box unassigned while ``others`` other objects are tracked and move."""
    return UNASSIGNED - CROWDED * min(others, MOST_OTHERS)


def worth(squared: Rows, cost: Rows, price: float) -> Rows:
    """Return the cost of each pair minus the cost of leaving both unassigned; negative if the pair is more likely.

    Pairs whose ``squared`` distance is not below `GATE` get 0.
    """
    return np.where(squared < GATE, cost - price, 0.0)


# Selection of the boxes of a frame that begin a new track.

DOUBLE: Final = 0.8
"""Overlap (IoU) with a track's box above which a box, whatever its label, is a duplicate and not a second object."""


def births(objects: Sequence[Detection], matching: Matching) -> list[int]:
    """Return the columns of boxes for new tracks, best first.

    A new track needs a sure, unassigned box that overlaps neither an assigned box nor a better new box.
    """
    fresh = sorted(matching.free(matching.sure), key=lambda column: -objects[column].score)
    return _without_doubles(fresh, sorted(matching.pairs.values()), matching.measured)


def _without_doubles(fresh: list[int], taken: list[int], measured: Rows) -> list[int]:
    """Return new boxes, best first, that overlap neither an assigned box nor a better new one."""
    if not fresh or len(fresh) + len(taken) < 2:
        return fresh
    over = overlaps(measured[fresh], measured[[*taken, *fresh]]) > DOUBLE
    kept: list[int] = []
    for row, column in enumerate(fresh):
        others = [*range(len(taken)), *(len(taken) + fresh.index(better) for better in kept)]
        if not over[row, others].any():
            kept.append(column)
    return kept
