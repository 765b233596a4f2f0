"""The keys of drift: notice when a camera or a model is not as it was."""

from __future__ import annotations

from typing import Annotated, Any, Final

from edge_infer.config.schema.scene import on_or_off
from edge_infer.plan.records import DriftPlan
from edge_infer.yamlfile.fields import duration
from edge_infer.yamlfile.section import Section, Short


class Drift(Section):
    """Compare the camera and the answers of the model with what they were in the first days."""

    false_alarm: Annotated[float, duration("1d", "100y")] = 365 * 86400.0
    """The expected time between two false alarms of a pipeline, over all of its signals. A longer time needs more
    evidence."""
    learn: Annotated[float, duration("1d", "30d")] = 7 * 86400.0
    """How long the answers of the model are learned. A week includes a weekend. The camera is learned in 2 days."""


def _drift(value: Any) -> Any:
    return None if value is None else on_or_off(value, ", ".join(Drift.model_fields))


DRIFT: Final = Short(_drift, {"type": ["boolean", "null"]})


def drift_plan(device: Drift | None, section: Drift | None, *, own: bool) -> DriftPlan | None:
    """Return the plan of a pipeline; ``own``: it has the key itself, else that of the device applies to it."""
    chosen = section if own else device
    return None if chosen is None else DriftPlan(chosen.false_alarm, chosen.learn)
