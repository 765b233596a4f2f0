"""The keys of motion detection: run the model only where something moves."""

from __future__ import annotations

from typing import Annotated, Any, Final

from edge_infer.config.fields import duration, number
from edge_infer.config.plan import ModelPlan, MotionPlan, SourcePlan
from edge_infer.config.scene import on_or_off
from edge_infer.config.section import Section, Short


class Motion(Section):
    """When a part of the picture is worth a look."""

    threshold: Annotated[float, number(0.01, 0.9)] = 0.06
    """A spot has changed when it is this much brighter or darker than usual, as a share of full brightness."""
    area: Annotated[float, number(0.0001, 0.5)] = 0.001
    """Share of the picture (with tiles: of a tile) that has to change."""
    still_check: Annotated[float, duration("500ms", "1h")] = 10.0
    """Time after the last run of the model until it runs again, even if nothing moves."""


def _motion(value: Any) -> Any:
    return on_or_off(value, ", ".join(Motion.model_fields))


MOTION: Final = Short(_motion, {"type": "boolean"})


def motion_plan(section: Motion | None) -> MotionPlan | None:
    """Return the plan; None if every frame is processed as a whole."""
    return MotionPlan(section.threshold, section.area, section.still_check) if section else None


def why_not(source: SourcePlan | None, model: ModelPlan) -> str | None:
    """Return why no part of this source may be skipped for this model, in a sentence; None if it may."""
    if source is not None and source.parent:
        return "belongs to the pipeline that finds the objects; crops are looked at when they are asked for"
    if model.input.takes != "image" or (source is not None and source.gives != "image"):
        return "belongs to pipelines of pictures; here every stretch of the signal counts; remove this key"
    if model.state:
        return f"{model.title} remembers the frame before (state), so none can be left out; remove this key"
    return None
