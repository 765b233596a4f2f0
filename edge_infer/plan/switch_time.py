"""Time limits for an engine to switch to a new plan. Until then it continues with the previous plan."""

from __future__ import annotations

from typing import Final

from edge_infer.plan.records import ModelPlan, Plan

SLOWER: Final = 10
"""Factor by which loading a model may take longer in the engine than in its trial."""
LOADS: Final = 60.0
"""Seconds after which a model on probation that is still being loaded counts as stuck. Loading may always take this
long, but never more than `SLOWER` times as long: the measured time comes from a process that ran the model, so it may
be wrong."""
UNKNOWN: Final = 30.0
"""Seconds that loading a model without a trial may take."""
SWITCH: Final = 10.0
"""Seconds that a switch may take beyond the loading of models: threads of removed pipelines end, and a model that
cannot be loaded is rolled back."""


def load_seconds(model: ModelPlan) -> float:
    """Return the seconds that loading a model may take in the engine."""
    return UNKNOWN if (load := model.measured.load) is None else SLOWER * load


def switch_seconds(before: Plan, plan: Plan) -> float:
    """Return the maximum seconds of a switch to ``plan``, in which the engine loads the models of changed pipelines."""
    known = {each.name: each for each in before.pipelines}
    changed = [each for each in plan.pipelines if known.get(each.name) != each]
    frame = max((model.longest_frame() for model in before.models()), default=0.0)
    loads = min(max(LOADS, sum(load_seconds(each.model) for each in changed)), SLOWER * LOADS) if changed else 0.0
    return SWITCH + min(frame, SLOWER * LOADS) + loads
