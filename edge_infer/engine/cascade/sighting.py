"""Objects that a pipeline has found in a frame, in the form in which its child pipelines receive them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import Parent
from edge_infer.contract.precision import Precision
from edge_infer.engine.tasks.detection import Detection, fractions
from edge_infer.frames.geometry import Region

Key: TypeAlias = tuple[int, int]
"""Key of an answer: the id of the object, and its index among the objects of this id. An object without an id has 0 and
its index in the frame."""


@dataclass(frozen=True, slots=True)
class Sighted:
    """One object that ``pipeline`` has found in a frame of ``size`` (width, height).

    ``seq`` is the number of the published result that contains the object; None if no result was published. ``nth`` is
    its index among the objects with the same id.
    """

    pipeline: str
    found: Detection
    size: tuple[int, int]
    seq: int | None
    nth: int

    @property
    def id(self) -> int | None:
        """Id of the object or, if it has none, of the cropped object in which it was found."""
        return self.found.number or self.found.parent

    @property
    def key(self) -> Key:
        """Key of the object, constant as long as the object's id is."""
        return self.id or 0, self.nth

    @property
    def area(self) -> float:
        """Area of its box in pixels."""
        xmin, ymin, xmax, ymax = self.found.box
        return (xmax - xmin) * (ymax - ymin)

    def region(self, margin: float) -> Region:
        """Return the crop of the frame, widened on each side by a share of the object's width and height."""
        width, height = self.size
        xmin, ymin, xmax, ymax = self.found.box
        aside, above = margin * (xmax - xmin), margin * (ymax - ymin)
        left, right = _span(xmin - aside, xmax + aside, width)
        top, bottom = _span(ymin - above, ymax + above, height)
        return Region(left, top, right - left, bottom - top)

    def wire(self, precision: Precision) -> Parent:
        """Return the object in the form of the ``parent`` field of a result."""
        box, score = precision.box(fractions(self.found.box, self.size)), precision.score(self.found.score)
        return Parent(self.pipeline, self.found.label, score, box, self.id or ABSENT, self.seq or ABSENT)


@dataclass(frozen=True, slots=True)
class Sighting:
    """All objects found in a frame, the best first.

    ``present`` holds the ids of all present objects, visible in this frame or not; None without tracking. ``asked``
    holds the ids of the objects that the parent's model has just examined; None: all. ``warm`` is false until the
    pipeline has run long enough to confirm an object.
    """

    objects: tuple[Sighted, ...]
    present: frozenset[int] | None = None
    asked: frozenset[int] | None = None
    warm: bool = True


def _span(low: float, high: float, most: int) -> tuple[int, int]:
    """Return the smallest span of whole pixels that contains ``low`` to ``high``.

    The span has at least one pixel and lies within 0 to ``most``.
    """
    first = min(max(0, math.floor(low)), most - 1)
    return first, max(min(most, math.ceil(high)), first + 1)
