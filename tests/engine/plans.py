"""Plans made by hand, for tests that need no configuration."""

from __future__ import annotations

from typing import Any

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Task
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, NmsPlan, PipelinePlan


def pipeline(
    task: Task = "detection", names: tuple[str, ...] = ("cat", "dog", "face"), **settings: Any
) -> PipelinePlan:
    """A pipeline of a model that is not there; ``names`` are the model's labels."""
    decoder = DecoderPlan("none", "none:None")
    model = ModelPlan(
        "pets", "pets@1.0.0", "1.0.0", "ab" * 32, "/nowhere", task, decoder, names, InputPlan(), 0.5, NmsPlan()
    )
    return replace(PipelinePlan("door", "camera", model, 0.5), **settings)
