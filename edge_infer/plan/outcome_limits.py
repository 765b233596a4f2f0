"""Limits for the content of a pipeline's messages, as its configuration and its model determine them."""

from __future__ import annotations

from typing import Final

from edge_infer.contract.messages import EventType
from edge_infer.plan.records import PipelinePlan, Plan

MAX_OBJECTS: Final = 999
"""Maximum published count of present objects; a larger count is published as this number."""
MAX_BEFORE: Final = 3600.0
"""Maximum published time in seconds from the begin of an event's subject to its begin event."""


def state_rows(plan: PipelinePlan) -> int:
    """Return the maximum number of rows that a state may leave out: labels, zones and lines; in a cascade, objects."""
    labels = len(set(plan.labels or plan.model.labels))
    return MAX_OBJECTS if plan.crops else min(MAX_OBJECTS, labels + len(plan.zones) + len(plan.lines))


def has_shares(plan: PipelinePlan) -> bool:
    """Return whether objects may have a share of their box; they may with instance segmentation and with plug-ins."""
    decoder = plan.model.decoder
    return decoder.kind == "yolov8_segment" or not decoder.target.startswith("edge_infer.")


def most_items(plan: PipelinePlan) -> int:
    """Return the maximum number of items that a result of the pipeline may contain or count as left out."""
    if plan.model.task == "classification":
        return plan.top_k
    if plan.model.task == "segmentation":
        return min(256, len(plan.labels or plan.model.labels))
    return plan.model.nms.max


def tracked_above(plan: Plan, pipeline: PipelinePlan) -> str | None:
    """Return the nearest pipeline above a cascade whose objects have ids; None if there is none."""
    above = next(plan.parents(pipeline), None)
    while above is not None and above.track is None:
        above = next(plan.parents(above), None)
    return None if above is None else above.name


def event_types(plan: PipelinePlan) -> tuple[EventType, ...]:
    """Return the types of events that a pipeline may have."""
    drift: tuple[EventType, ...] = ("drift", "drift_end") if plan.drift else ()
    if plan.events is None:
        return drift
    if plan.track is None:
        return ("start", "end", *drift)
    zones: tuple[EventType, ...] = ("enter", "exit", "loiter") if plan.zones else ()
    return ("appear", "leave", *zones, *(("cross",) if plan.lines else ()), *drift)
