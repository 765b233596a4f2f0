"""What a pipeline has found in a frame, for pipelines that look at it more closely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from edge_infer.codec import ABSENT
from edge_infer.engine.geometry import Region
from edge_infer.engine.tasks import fraction
from edge_infer.engine.tasks.detection import Found
from edge_infer.messages import Parent

Key: TypeAlias = tuple[int, int]
"""Whom an answer is about: an id and which of those in it, or 0 and the place among the objects of its frame."""


@dataclass(frozen=True, slots=True)
class Sighted:
    """An object that ``pipeline`` has found in a frame of ``size`` (width, height).

    ``seq`` is the number of the result that tells of it, None where none does; ``nth`` counts those of the same id.
    """

    pipeline: str
    found: Found
    size: tuple[int, int]
    seq: int | None
    nth: int

    @property
    def id(self) -> int | None:
        """Its own, or that of the object that it was found in."""
        return self.found.number or self.found.parent

    @property
    def key(self) -> Key:
        """The same for the same object, as far as that is known."""
        return self.id or 0, self.nth

    @property
    def area(self) -> float:
        """Of its box, in pixels."""
        xmin, ymin, xmax, ymax = self.found.box
        return (xmax - xmin) * (ymax - ymin)

    def region(self, margin: float) -> Region:
        """The part of the frame that shows it, widened on each side by a share of its width and height."""
        width, height = self.size
        xmin, ymin, xmax, ymax = self.found.box
        aside, above = margin * (xmax - xmin), margin * (ymax - ymin)
        left, right = _span(xmin - aside, xmax + aside, width)
        top, bottom = _span(ymin - above, ymax + above, height)
        return Region(left, top, right - left, bottom - top)

    def wire(self) -> Parent:
        """As a result tells of it."""
        width, height = self.size
        xmin, ymin, xmax, ymax = self.found.box
        box = fraction(xmin / width), fraction(ymin / height), fraction(xmax / width), fraction(ymax / height)
        score = round(self.found.score, 3)
        return Parent(self.pipeline, self.found.label, score, box, self.id or ABSENT, self.seq or ABSENT)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found in a frame, the best first.

    ``present`` are the ids of all that is there, seen in this frame or not; None where nothing is followed. ``asked``
    are those that this tells of; None: all. Until it is ``warm`` who is there could not have been confirmed.
    """

    objects: tuple[Sighted, ...]
    present: frozenset[int] | None = None
    asked: frozenset[int] | None = None
    warm: bool = True


def _span(low: float, high: float, most: int) -> tuple[int, int]:
    """Whole pixels within the frame that hold all of it; at least one."""
    first = min(max(0, math.floor(low)), most - 1)
    return first, max(min(most, math.ceil(high)), first + 1)
