"""A child that runs a model on pictures: ``python -m tests.faults.comparing PICTURE…``.

It takes the folder of a package a line and answers with what is found in each picture, a JSON line; a package that
kills or hangs it, kills or hangs it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan

Thing = tuple[str, float, tuple[float, ...]]
"""Label, score and box in fractions."""
SCORE: Final = 0.05
OVERLAP: Final = 0.8


def found_in(findings: Findings) -> list[Thing]:
    """What there is to compare."""
    if isinstance(findings, ClassificationFindings):
        return [(item.label, item.score, ()) for item in findings.classes]
    assert isinstance(findings, Detections)
    width, height = findings.source
    return [
        (each.label, each.score, (each.box[0] / width, each.box[1] / height, each.box[2] / width, each.box[3] / height))
        for each in findings.objects
    ]


def same(one: list[Thing], other: list[Thing]) -> bool:
    """Whether the same was found: labels, scores within 0.05, boxes with an IoU of 0.8."""
    rest = list(other)
    for label, score, box in one:
        match = next(
            (item for item in rest if item[0] == label and abs(item[1] - score) <= SCORE and _close(box, item[2])), None
        )
        if match is None:
            return False
        rest.remove(match)
    return not rest


def _close(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    if not one or not other:
        return one == other
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared >= OVERLAP * (sum(areas) - shared)


def main() -> int:
    """Answers until there are no more lines."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the runtime writes there
    pictures = [read_picture(path) for path in sys.argv[1:]]
    for line in sys.stdin:
        plan = resolve(ModelRequest("m", line.strip()))
        try:
            with LoadedModel(PipelinePlan("compare", "pictures", plan, plan.threshold)) as model:
                found = [found_in(model.find(Frame(each, "bgr", 0.0, 0.0, 1))) for each in pictures]
            answers.write(json.dumps(found) + "\n")
        except ModelError as error:
            answers.write(json.dumps(str(error)) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
