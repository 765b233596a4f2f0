"""Assigns found boxes to labelled boxes as the COCO evaluation does.

For each IoU threshold, best score first, a found box takes the free labelled box of its class that it overlaps most.
Labelled crowds, and labelled boxes outside of the size range, are ignored: a found box that takes one counts neither as
right nor as wrong. `pycocotools` is the reference; the tests compare each number with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

IOUS: Final = tuple(0.5 + 0.05 * step for step in range(10))
"""Thresholds of intersection over union: 0.5 to 0.95."""
SIZES: Final = ("all", "small", "medium", "large")
LIMITS: Final = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""The area of a box in square pixels, from and to, for each of `SIZES`."""
MAX_FOUND: Final = 100
"""Maximum number of boxes of one class in a picture that count, best first."""
_NEARLY_ONE: Final = 1.0 - 1e-10
_EVERY_IOU: Final = (1 << len(IOUS)) - 1
"""The bits of one range of sizes."""


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """Labelled boxes of one picture: xmin, ymin, xmax, ymax in pixels, ``[n, 4]``; ``areas`` in square pixels."""

    boxes: Floats
    classes: Ints
    areas: Floats
    crowd: Flags

    def of(self, kept: Any) -> TrueBoxes:
        """Return some of the boxes."""
        return TrueBoxes(self.boxes[kept], self.classes[kept], self.areas[kept], self.crowd[kept])


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """Boxes that a model found in one picture, as in `TrueBoxes`; ``scores`` are 0 to 1."""

    boxes: Floats
    classes: Ints
    scores: Floats

    def of(self, kept: Any) -> FoundBoxes:
        """Return some of the boxes."""
        return FoundBoxes(self.boxes[kept], self.classes[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class Matches:
    """Outcome of the found boxes of one picture, best score of each class first.

    ``order`` are their indices in the picture's boxes. Bit ``len(IOUS) * size + threshold`` of ``right`` is set if the
    box took a labelled box, and of ``ignored`` if the found box does not count. ``taken`` is the labelled box at an IoU
    of 0.5 regardless of size, or -1. Bit ``size`` of ``counted`` is set if a labelled box counts in that range.
    """

    order: Ints
    right: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    taken: Ints
    counted: NDArray[np.uint8]


def match(found: FoundBoxes, true: TrueBoxes) -> Matches:
    """Return the matches of all classes of one picture."""
    parts = [
        _match_class(found, np.flatnonzero(found.classes == number), true, np.flatnonzero(true.classes == number))
        for number in np.unique(found.classes).tolist()
    ]
    order = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
    bits = [np.array([value for part in parts for value in part[place]], np.uint64) for place in (1, 2)]
    taken = np.array([place for part in parts for place in part[3]], np.int64)
    ignored = _ignored(true)
    counted = ((~ignored).astype(np.uint8) << np.arange(len(SIZES), dtype=np.uint8)[:, np.newaxis]).sum(axis=0)
    return Matches(order, bits[0], bits[1], taken, counted.astype(np.uint8))


def overlaps(found: Floats, true: Floats, crowd: Flags) -> Floats:
    """Return ``[found, true]`` intersection over union; for a crowd the share of the found box that lies in it."""
    low = np.maximum(found[:, np.newaxis, :2], true[:, :2])
    high = np.minimum(found[:, np.newaxis, 2:], true[:, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    own, theirs = _areas(found)[:, np.newaxis], _areas(true)
    whole = np.where(crowd, own, own + theirs - common)
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole > 0), np.float64)


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float64)


def _ignored(true: TrueBoxes) -> Flags:
    """Return ``[sizes, true]``: whether a labelled box is ignored in a range of sizes."""
    low, high = np.array(LIMITS).T[:, :, np.newaxis]
    return np.asarray(true.crowd | (true.areas < low) | (true.areas > high), np.bool_)


def _match_class(
    found: FoundBoxes, places: Ints, true: TrueBoxes, labelled: Ints
) -> tuple[Ints, list[int], list[int], list[int]]:
    """Return order, bits of right and ignored boxes, and taken boxes of one class."""
    order = places[np.argsort(-found.scores[places], kind="stable")][:MAX_FOUND]
    own = _areas(found.boxes[order])
    outside = [(own < low) | (own > high) for low, high in LIMITS]
    if not len(labelled):  # most classes in most pictures
        bits = sum(flags * (_EVERY_IOU << len(IOUS) * size) for size, flags in enumerate(outside))
        return order, [0] * len(order), np.asarray(bits).tolist(), [-1] * len(order)
    right, ignored, taken = [0] * len(order), [0] * len(order), [-1] * len(order)
    ious = overlaps(found.boxes[order], true.boxes[labelled], true.crowd[labelled])
    near = ious.max(axis=1, initial=0.0) >= IOUS[0]
    skipped = _ignored(true.of(labelled))
    for size in range(len(SIZES)):
        hits = _assign(ious, skipped[size], true.crowd[labelled], near)
        for step, hit in enumerate(hits):
            bit = 1 << (len(IOUS) * size + step)
            for place, label in enumerate(hit):
                if label >= 0:
                    right[place] |= bit
                if skipped[size][label] if label >= 0 else outside[size][place]:
                    ignored[place] |= bit
        if size == 0:
            taken = [int(labelled[label]) if label >= 0 else -1 for label in hits[0]]
    return order, right, ignored, taken


def _assign(ious: Floats, skipped: Flags, crowd: Flags, near: Flags) -> list[list[int]]:
    """Return, for each IoU threshold, the index of the labelled box that each found box takes, or -1."""
    order = np.argsort(skipped, kind="stable").tolist()  # boxes that count come first
    rows, skip, many = ious.tolist(), skipped.tolist(), crowd.tolist()
    candidates = np.flatnonzero(near).tolist()
    hits = []
    for threshold in IOUS:
        free, hit = [True] * len(order), [-1] * len(rows)
        for place in candidates:
            best, chosen = min(threshold, _NEARLY_ONE), -1
            for label in order:
                if not free[label] and not many[label]:
                    continue
                if chosen >= 0 and not skip[chosen] and skip[label]:
                    break
                if rows[place][label] >= best:
                    best, chosen = rows[place][label], label
            if chosen >= 0:
                free[chosen], hit[place] = False, chosen
        hits.append(hit)
    return hits
