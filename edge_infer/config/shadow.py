"""Check whether a shadow model can be compared with the serving one, frame by frame."""

from __future__ import annotations

from edge_infer.config.pipelines import Pipeline
from edge_infer.config.plan import ModelPlan


def unfit(model: ModelPlan, serving: ModelPlan, section: Pipeline) -> str | None:
    """Return why a model cannot shadow ``serving`` in a pipeline, in a sentence; None if it can."""
    if model.name == serving.name:
        return "is the model that serves here already; name another one, or remove shadow"
    if model.task != serving.task:
        return f"{model.title} is of task {model.task}, and {serving.title}, which serves here, of {serving.task}"
    if model.input.takes != serving.input.takes:
        return f"{model.title} takes {model.input.takes}, and {serving.title}, which serves here, {serving.input.takes}"
    if model.input.takes == "samples" and model.input != serving.input:
        return f"{model.title} is fed in another way than {serving.title}: their manifests have to have the same input"
    if model.state:
        return f"{model.title} remembers the frame before (state), and a shadow does not see all of them"
    missing = [label for label in section.labels or () if label not in model.labels]
    if missing:
        return f"{model.title} has no label {missing[0]!r}, which this pipeline keeps"
    return None
