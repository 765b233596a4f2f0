"""A report as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_infer.evaluate.bootstrap import Interval
from edge_infer.evaluate.run import Compared, Evaluation, EvaluationReport
from edge_infer.evaluate.scores import Granted, Mistake

Facts = dict[str, Any]


def facts(report: EvaluationReport) -> Facts:
    """Return the figures of one model, or ``models`` and ``comparison`` for two models. No number is NaN."""
    about: Facts = {"data": report.data, "unread": report.unread, "notes": list(report.notes)}
    models = [_of_model(each) for each in report.evaluations]
    if report.compared is None:
        found = {**models[0], **about, "notes": [*report.notes, *report.evaluations[0].notes]}
    else:
        found = {"models": models, "comparison": _comparison(report.compared), **about}
    return {key: _finite(value) for key, value in found.items()}


def _of_model(found: Evaluation) -> Facts:
    plan, scores = found.model, found.scores
    return {
        "model": plan.title,
        "sha": plan.sha256[:8],
        "task": plan.task,
        "examples": found.examples,
        "threshold": plan.threshold,
        **{name.replace(" ", "_"): value for name, value in scores.figures.items()},
        "intervals": {name: _pair(between) for name, between in scores.intervals.items()},
        "classes": [
            {key: value for key, value in _fields(each).items() if value is not None or not key.startswith("ap")}
            for each in scores.classes
        ],
        "sizes": [_fields(each) for each in scores.sizes],
        "confusion": [_fields(each) for each in scores.confusion],
        "calibration": None if scores.calibration is None else {
            "ece": scores.calibration.error, "bins": [_fields(each) for each in scores.calibration.bins]
        },
        "thresholds": [_granted(each) for each in scores.granted],
        "latency": None if found.latency is None else {"median": found.latency[0], "p95": found.latency[1]},
        "worst": {
            "missed": [_mistake(each) for each in found.worst.of("missed")],
            "false_alarms": [_mistake(each) for each in found.worst.of("false_alarm")],
        },
        "notes": list(found.notes),
    }  # fmt: skip


def _comparison(found: Compared) -> Facts:
    return {
        "sentence": found.sentence,
        "verdict": found.main.verdict,
        "differences": {
            name: {"value": each.value, "interval": _pair(each.interval), "verdict": each.verdict}
            for name, each in found.differences.items()
        },
    }


def _granted(found: Granted) -> Facts:
    point = found.point
    wished = {"for": found.kind, **({} if found.least is None else {"least": found.least})}
    wished |= {"label": found.label} if found.label else {}
    if point is None:
        return {**wished, "threshold": None}
    return {**wished, "threshold": point.threshold, "precision": point.precision, "recall": point.recall}


def _mistake(found: Mistake) -> Facts:
    known = {"input": found.name, "true": found.true, "found": found.found, "score": found.score}
    boxes = {"true_box": found.true_box, "found_box": found.found_box}
    return {key: value for key, value in {**known, **boxes}.items() if value not in ("", None)}


def _pair(between: Interval) -> list[float]:
    return [between.low, between.high]


def _fields(record: Any) -> Facts:
    return {name: getattr(record, name) for name in record.__slots__}


def _finite(value: Any) -> Any:
    """Return the value with null in place of numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
