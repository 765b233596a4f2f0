"""Which boxes of a frame begin an object of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_infer.engine.analyse.kalman import Rows, overlaps
from edge_infer.engine.analyse.matching import Matching
from edge_infer.engine.tasks.detection import Found

DOUBLE: Final = 0.8
"""Overlap with an object's box from which on a box of another label is no second object."""


def births(objects: Sequence[Found], matching: Matching) -> list[int]:
    """Columns of sure boxes, best first, that are nobody's and lie on nobody's."""
    fresh = sorted(matching.free(matching.sure), key=lambda column: -objects[column].score)
    return _without_doubles(fresh, sorted(matching.pairs.values()), matching.measured)


def _without_doubles(fresh: list[int], taken: list[int], measured: Rows) -> list[int]:
    """New boxes, best first, that do not lie on one that is taken or better."""
    if not fresh or len(fresh) + len(taken) < 2:
        return fresh
    over = overlaps(measured[fresh], measured[[*taken, *fresh]]) > DOUBLE
    kept: list[int] = []
    for row, column in enumerate(fresh):
        others = [*range(len(taken)), *(len(taken) + fresh.index(better) for better in kept)]
        if not over[row, others].any():
            kept.append(column)
    return kept
