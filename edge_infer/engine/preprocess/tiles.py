"""Tiles: parts of a large frame, processed one by one, so that small objects are not scaled down further."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.records import Boxes
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Float64Boxes, Region, Transform
from edge_infer.plan.records import InputPlan

Look: TypeAlias = tuple[Boxes, Transform]
"""Candidates of one tile, and the transform of that tile."""
CONSIDERED: Final = 1000
"""Maximum number of candidates of all tiles that are compared, best first, as in `nms`."""
EDGE: Final = 0.02
"""Distance to the edge of a tile, as a share of the tile, within which a box may have been cut off."""
COVERED: Final = 0.7
"""Share of a cut-off box that a larger box of another tile must cover for both to count as one object."""


class Tiles:
    """Splits a frame into equal, overlapping parts and merges their candidates."""

    def __init__(self, plan: InputPlan, threshold: float) -> None:
        self._columns, self._rows = plan.tiles
        self._overlap = plan.overlap
        self._threshold = threshold

    def __call__(self, frame: Frame) -> tuple[Frame, ...]:
        """Return the frame once for each tile, with the tile's region."""
        width, height = frame.size
        wide, lefts = _spans(width, self._columns, self._overlap)
        high, tops = _spans(height, self._rows, self._overlap)
        return tuple(replace(frame, region=Region(left, top, wide, high)) for top in tops for left in lefts)

    def joined(self, looks: Sequence[Look]) -> Look:
        """Merge the candidates of all tiles in fractions of the frame; overlaps are left to `nms`.

        If one tile shows an object whole and another tile shows a part of it, the object is found twice, and the two
        boxes may overlap too little for suppression. Therefore a box that its tile may have cut off is dropped if a
        larger box of another tile covers it.
        """
        source = looks[0][1].source
        best = _best(np.concatenate([found.scores for found, _ in looks]), self._threshold)
        boxes = np.concatenate([transform.to_source(found.boxes) for found, transform in looks])[best]
        classes = np.concatenate([found.classes for found, _ in looks])[best]
        tiles = np.repeat(np.arange(len(looks)), [len(found.scores) for found, _ in looks])[best]
        kept = ~_covered(
            boxes, classes, tiles, _cut(boxes, tiles, [transform.region for _, transform in looks], source)
        )
        scores = np.concatenate([found.scores for found, _ in looks])[best][kept]
        shares = [found.shares for found, _ in looks if found.shares is not None]
        return Boxes(
            boxes=(boxes[kept] / np.array((*source, *source))).astype(np.float32),
            scores=scores,
            classes=classes[kept],
            nonfinite=sum(found.nonfinite for found, _ in looks),
            shares=np.concatenate(shares)[best][kept] if len(shares) == len(looks) else None,
        ), Transform.fit(source, source, "stretch")


def _spans(whole: int, count: int, overlap: float) -> tuple[int, list[int]]:
    """Return the length of ``count`` equal spans that cover ``whole`` pixels, and the start of each."""
    length = min(whole, ceil(whole / (count - (count - 1) * overlap)))
    return length, [round(index * (whole - length) / max(count - 1, 1)) for index in range(count)]


def _best(scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    order = np.argsort(-scores, kind="stable")[:CONSIDERED]
    return order[scores[order] >= threshold]


def _cut(
    boxes: Float64Boxes, tiles: NDArray[np.intp], regions: Sequence[Region], source: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return a mask of the boxes that end at an edge of their tile, unless it is also an edge of the frame."""
    found = np.array([(each.left, each.top, each.left + each.width, each.top + each.height) for each in regions])
    inner = found != (0, 0, *source)
    slack = EDGE * np.array([(*each.size, *each.size) for each in regions])
    near = boxes - found[tiles] < slack[tiles]
    near[:, 2:] = found[tiles][:, 2:] - boxes[:, 2:] < slack[tiles][:, 2:]
    cut: NDArray[np.bool_] = (near & inner[tiles]).any(axis=1)
    return cut


def _covered(
    boxes: Float64Boxes, classes: NDArray[np.int32], tiles: NDArray[np.intp], cut: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return a mask of the cut-off boxes that a larger box of the same class from another tile covers."""
    covered = np.zeros(len(boxes), np.bool_)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for index in np.flatnonzero(cut):
        low = np.maximum(boxes[:, :2], boxes[index, :2])
        high = np.minimum(boxes[:, 2:], boxes[index, 2:])
        common = np.clip(high - low, 0.0, None).prod(axis=1)
        others = (classes == classes[index]) & (tiles != tiles[index]) & (areas > areas[index])
        covered[index] = (others & (common >= COVERED * areas[index])).any()
    return covered
