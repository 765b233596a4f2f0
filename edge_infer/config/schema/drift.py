"""Keys of drift detection: report when a camera's pictures or a model's findings no longer look as learned."""

from __future__ import annotations

from typing import Any, Final

from edge_infer.config.schema.keys import planned, with_keys_of
from edge_infer.config.schema.scene import on_or_off
from edge_infer.plan.records import DriftPlan
from edge_infer.yamlfile.section import Section, Short


@with_keys_of(DriftPlan)
class Drift(Section):
    """Compare the camera's pictures and the model's findings with those of the first days."""


def _drift(value: Any) -> Any:
    return None if value is None else on_or_off(value, ", ".join(Drift.model_fields))


DRIFT: Final = Short(_drift, {"type": ["boolean", "null"]})


def drift_plan(device: Drift | None, section: Drift | None, *, own: bool) -> DriftPlan | None:
    """Return the drift plan of a pipeline.

    ``own``: the pipeline has the key itself; otherwise the section of the device applies.
    """
    chosen = section if own else device
    return None if chosen is None else planned(DriftPlan, chosen)
