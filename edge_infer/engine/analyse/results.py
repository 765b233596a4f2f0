"""Record of whether the result of a frame was published, for pipelines without events.

In a pipeline with events, each event is in the record. A pipeline without events has no other entry for its findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from edge_infer.config.plan import PipelinePlan, Publish
from edge_infer.engine.analyse.decisions import REPEATED, TOLD, Decisions
from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import Segmentation
from edge_infer.messages import Task

MOST: Final = 5
"""Maximum labels of a frame that are recorded."""
CHANGE: Final[dict[Task, str]] = {
    "classification": "the best class is",
    "anomaly": "the state is",
    "regression": "the values in their steps are",
}
"""Criterion of a change by task; all other tasks compare labels and counts."""


class ResultReasons:
    """Recorder of whether the findings of a frame were published in a result."""

    def __init__(self, plan: PipelinePlan, decisions: Decisions) -> None:
        self._decisions = decisions
        self._silent = plan.events is None and plan.crops is None
        same = CHANGE.get(plan.model.task, "labels and counts are")
        why: dict[Publish, str] = {
            "change": f"publish is change, and {same} as in the last one; heartbeat is {plan.heartbeat:g} s",
            "interval": f"publish is {{interval: {plan.interval:g}s}}",
            "off": "publish is off",
        }
        self._text = f"in the state, in no result: {why.get(plan.publish, '')}"

    def __call__(self, findings: Findings, now: Instant, *, told: bool) -> None:
        """Record the findings of a frame and whether its result was published."""
        if not self._silent:
            return
        stage, text = (TOLD, "told in a result") if told else (REPEATED, self._text)
        for label, score in islice(found_in(findings), MOST):
            self._decisions.note(now.wall, label, score, stage, text)


def found_in(findings: Findings) -> Iterator[tuple[str | None, float]]:
    """Yield labels with their best scores, best first; values by name."""
    if isinstance(findings, Followed):
        findings = findings.detections
    if isinstance(findings, Detections):
        seen: set[str] = set()
        for each in findings.objects:
            if each.label not in seen:
                seen.add(each.label)
                yield each.label, each.score
    elif isinstance(findings, Classification):
        yield from ((each.label, each.score) for each in findings.classes)
    elif isinstance(findings, Poses):
        yield from ((findings.label, body.score) for body in findings.bodies[:1])
    elif isinstance(findings, Segmentation):
        yield from ((each.label, each.share) for each in findings.segments)
    elif isinstance(findings, Measurement):
        yield from ((each.plan.name, each.value) for each in findings.values if each.value is not None)
    elif isinstance(findings, Deviation) and findings.score >= findings.threshold:
        yield None, findings.score
