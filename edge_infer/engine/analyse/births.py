"""Selection of the boxes of a frame that start a new track."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_infer.engine.analyse.kalman import Rows, overlaps
from edge_infer.engine.analyse.matching import Matching
from edge_infer.engine.tasks.detection import Found

DOUBLE: Final = 0.8
"""Overlap (IoU) with a track's box above which a box, also of another label, is a duplicate and not a second object."""


def births(objects: Sequence[Found], matching: Matching) -> list[int]:
    """Return columns of sure boxes, best first, that are unassigned and do not overlap an assigned box."""
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
