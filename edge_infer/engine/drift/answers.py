"""Numbers that describe the findings of a frame: how many objects there are, their scores, sizes and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge_infer.contract.messages import FractionBox
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import fractions


@dataclass(frozen=True, slots=True)
class AnswerNumbers:
    """Numbers that describe the findings of one frame; None where the task has no such number.

    ``scores`` are the scores of all objects or bodies, or the score of the best class. ``margin`` is the difference
    between the best and the second class. ``size`` is the mean logarithm (base 2) of the areas of boxes. ``value`` is
    the first value of a regression, or the distance of an anomaly.
    """

    objects: int | None
    scores: tuple[float, ...] = ()
    margin: float | None = None
    size: float | None = None
    value: float | None = None
    labels: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """Mean score of the frame. The maximum is not used, because it rises with the number of objects."""
        return sum(self.scores) / len(self.scores) if self.scores else None


def answer_numbers(findings: Findings) -> AnswerNumbers:
    """Return the numbers that describe the findings of a frame, for any task."""
    found: Any = findings.detections if isinstance(findings, Followed) else findings
    if (objects := getattr(found, "objects", None)) is not None:
        areas = [_area(fractions(item.box, found.source)) for item in objects]
        size = sum(areas) / len(areas) if areas else None
        labels = tuple(item.label for item in objects)
        return AnswerNumbers(len(objects), _scores(objects), None, size, None, labels)
    if (bodies := getattr(found, "bodies", None)) is not None:
        return AnswerNumbers(len(bodies), _scores(bodies))
    if (classes := getattr(found, "classes", None)) is not None:
        margin = classes[0].score - classes[1].score if len(classes) > 1 else None
        best = tuple(each.label for each in classes[:1])
        return AnswerNumbers(len(classes), _scores(classes[:1]), margin, None, None, best)
    if (segments := getattr(found, "segments", None)) is not None:
        return AnswerNumbers(len(segments), labels=tuple(each.label for each in segments))
    return AnswerNumbers(None, value=_value(found))


def _scores(items: Any) -> tuple[float, ...]:
    return tuple(float(item.score) for item in items)


def _area(box: FractionBox) -> float:
    left, top, right, bottom = box
    return math.log2(max(1e-5, (right - left) * (bottom - top)))


def _value(found: Any) -> float | None:
    """Return the distance of an anomaly or the first value of a regression."""
    distance = getattr(found, "score", None)
    if distance is None:
        values = getattr(found, "values", None) or ()
        distance = values[0].value if values else None
    return None if distance is None or not math.isfinite(distance) else float(distance)
