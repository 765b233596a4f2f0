"""Warnings about a valid configuration whose effect may not be intended."""

from __future__ import annotations

from collections.abc import Iterator

from edge_infer.config.load import Document
from edge_infer.config.plan import ModelPlan, Plan, Problem, TextPlan
from edge_infer.config.schema import Config


def idle(document: Document, config: Config, plan: Plan) -> Iterator[Problem]:
    """Yield a warning for each unused model or source, for unnamed classes, and for limits that drop lines."""
    used = {model.name: model for model in (*plan.models(), *plan.shadows())}
    for name in config.models.keys() - used.keys():
        yield document.problem(("models", name), "no pipeline runs it or compares it")
    for name in {source.name for source in plan.sources} - {pipeline.source for pipeline in plan.pipelines}:
        yield document.problem(("sources", name), "no pipeline takes what it gives; it is opened all the same")
    for name, model in config.models.items():
        if name in used and model.labels is None and _by_number(used[name]):
            yield document.problem(("models", name), "nobody names its classes, so they go by number; give labels")
    for pipeline in plan.pipelines:
        if pipeline.fps is not None and isinstance(pipeline.model.input, TextPlan):
            text = (
                f"lines that come faster than fps: {pipeline.fps:g} are left out, and not counted; remove fps for all"
            )
            yield document.problem(("pipelines", pipeline.name), text)


def _by_number(model: ModelPlan) -> bool:
    return bool(model.labels) and model.labels == tuple(map(str, range(len(model.labels))))
