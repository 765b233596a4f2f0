"""Runs a model on one labelled example."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Final

import numpy as np

from edge_infer.contract.codec import replace
from edge_infer.engine.input.files import read_lines
from edge_infer.engine.input.recording import find_in_recording, read_recording
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import InputError, ModelError, shortened
from edge_infer.evaluate.class_names import ClassNames
from edge_infer.evaluate.examples import LabelledClass, LabelledExample
from edge_infer.evaluate.resume_file import Looked
from edge_infer.frames.frame import Captured, Frame, Line, Samples
from edge_infer.frames.picture import read_picture
from edge_infer.plan.records import ModelPlan, PipelinePlan, SignalPlan, TextPlan
from edge_infer.platform.logs import printable

FLOOR: Final = 0.01
"""Lowest score of a box that counts for average precision."""
_SCORE_DECIMALS: Final = 6
_BOX_DECIMALS: Final = 3


def pipeline(model: ModelPlan) -> PipelinePlan:
    """Return the plan to evaluate a model: it reports every finding, even with a low score.

    The limit of a value's change does not apply, because the previous value belongs to another example.
    """
    model = replace(model, values=tuple(replace(value, max_rate=None) for value in model.values))
    if model.task == "anomaly":
        return PipelinePlan("evaluate", "evaluate", model, model.threshold)
    floor = min(FLOOR, model.threshold) if model.task == "detection" else 0.0
    return PipelinePlan("evaluate", "evaluate", model, floor, top_k=max(1, len(model.labels)))


def read_frame(example: LabelledExample) -> Frame:
    """Return a picture of the data; raises `InputError`."""
    if example.unread:
        raise InputError(f"{example.name}: {example.unread}")
    if not example.path:
        raise InputError(f"{example.name}: the name of the file leads out of the folder with the pictures")
    return Frame(read_picture(example.path), "bgr", 0.0, 0.0, example.number + 1)


def look(model: LoadedModel, example: LabelledExample, frame: Frame | None, classes: ClassNames) -> Looked:
    """Return the findings of a model in an example; raises `InputError` if the example cannot be read."""
    begun = time.perf_counter()
    try:
        if frame is not None:
            return _looked(model.find(frame), begun, example, classes)
        if isinstance(model.taken, TextPlan):
            line = _line(example)
            begun = time.perf_counter()
            return _looked(model.find(line), begun, example, classes)
        stretches = _stretches(example, model, model.taken)
        return _looked(find_in_recording(model, stretches, example.name)[0], begun, example, classes)
    except ModelError as error:
        return Looked(time.perf_counter() - begun, failed=printable(shortened(str(error))))


def _line(example: LabelledExample) -> Captured:
    if example.text is not None:
        return Line(example.text, 0.0, 0.0, example.number + 1)
    lines = list(read_lines(_path(example)))
    if len(lines) == 1:
        return lines[0]
    return Line("\n".join(line.text for line in lines), 0.0, 0.0, example.number + 1)


def _stretches(example: LabelledExample, model: LoadedModel, plan: object) -> Iterable[Samples]:
    assert isinstance(plan, SignalPlan)
    if not example.row:
        return read_recording(_path(example), plan, example.path)
    width = getattr(model.preprocess, "values", 0) or plan.width or 1
    if len(example.row) % width:
        raise InputError(f"{example.name}: {len(example.row)} numbers are not a multiple of the sample width {width}")
    values = np.array(example.row, np.float32).reshape(-1, width)
    need = getattr(model.preprocess, "need", len(values))
    if plan.features == "raw" and len(values) > need:
        raise InputError(f"{example.name}: {len(example.row)} numbers, but the model takes {need * width}")
    return [Samples(values, plan.rate or 1.0, 0.0, 0.0, 1, gap=True)]


def _path(example: LabelledExample) -> str:
    if not example.path:
        raise InputError(f"{example.name}: the name of the file leads out of the folder")
    return example.path


def _looked(findings: Findings, begun: float, example: LabelledExample, classes: ClassNames) -> Looked:
    seconds = time.perf_counter() - begun
    if isinstance(findings, Detections):
        items = tuple(
            (each.class_id, round(each.score, _SCORE_DECIMALS), *(round(side, _BOX_DECIMALS) for side in each.box))
            for each in findings.objects
        )
        return Looked(seconds, items=items)  # type: ignore[arg-type]  # a box has four sides
    if isinstance(findings, Measurement):
        return Looked(seconds, values=tuple(item.value for item in findings.values))
    if isinstance(findings, Deviation):
        return Looked(seconds, answer=(0, _finite(findings.score), 0))
    assert isinstance(findings, ClassificationFindings)
    assert isinstance(example.label, LabelledClass)
    if not findings.classes:
        return Looked(seconds)
    true = classes.of_data[example.label.number]
    ranks = (rank for rank, each in enumerate(findings.classes) if classes.number(each.class_id) == true)
    best = findings.classes[0]
    return Looked(
        seconds, answer=(best.class_id, round(best.score, _SCORE_DECIMALS), next(ranks, len(findings.classes)))
    )


def _finite(distance: float) -> float:
    """Return a distance that JSON can hold. A value that is not finite becomes the largest distance."""
    return distance if math.isfinite(distance) else 1e300
