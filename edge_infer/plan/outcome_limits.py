"""Limits for the content of a pipeline's messages, as its configuration and its model determine them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.codec import ABSENT, dumps, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, EventType, LineCounts, State, Value
from edge_infer.plan.records import PipelinePlan, Plan, ValuePlan

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
    """Return the name of the nearest pipeline with object ids above a cascade; None if no pipeline has ids."""
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


# Labels that a state counts even if no such object is present, and whether the state has room for all.

MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes reserved for marks that the publisher adds before sending."""
_TS: Final = "2026-01-01T00:00:00.000Z"
_BOOT: Final = "0" * 16
_OBJECTS: Final = 999
_CROSSED: Final = 999_999
_UNBOUNDED: Final = 999_999.0
_SHORTEST: Final = ValuePlan("v", "")
_SHORTEST_BYTES: Final = len(dumps(Value("v", None, "", implausible=True)))


def state_bytes(plan: PipelinePlan) -> int:
    """Return the maximum bytes of a state that counts each label of ``labels:``, also by zone, or has these values.

    Return 0 if the maximum is unknown, that is, without ``labels:``. A value without bounds is assumed to have six
    digits before the decimal point.
    """
    if plan.model.values and plan.crops is None:
        state = State(1, _TS, _BOOT, plan.model.title, plan.model.sha256[:8], _TS, values=_longest(plan.model.values))
        return len(dumps(state)) + MARKS
    if plan.labels is None or plan.state_key != "counts":
        return 0
    zones = {
        zone.name: dict.fromkeys(plan.labels if zone.labels is None else zone.labels, _OBJECTS) for zone in plan.zones
    }
    lines = {line.name: LineCounts(_CROSSED, _CROSSED) for line in plan.lines}
    state = State(
        1, _TS, _BOOT, plan.model.title, plan.model.sha256[:8], _TS, dict.fromkeys(plan.labels, _OBJECTS),
        zones=zones or ABSENT, lines=lines or ABSENT,
    )  # fmt: skip
    return len(dumps(state)) + MARKS


def most_values(plan: PipelinePlan) -> int:
    """Return the maximum number of values that fit into a state of the pipeline: with short names and without units."""
    head = state_bytes(replace(plan, model=replace(plan.model, values=(_SHORTEST,)))) - _SHORTEST_BYTES
    return (MAX_MESSAGE_BYTES - head + 1) // (_SHORTEST_BYTES + 1)


def _longest(values: Sequence[ValuePlan]) -> tuple[Value, ...]:
    found = []
    for plan in values:
        bounds = (-_UNBOUNDED if plan.min is None else plan.min, _UNBOUNDED if plan.max is None else plan.max)
        digits = max(len(str(int(bound))) for bound in bounds) + 1 + plan.decimals()
        number = Value(plan.name, float(10 ** min(15, digits) - 1), plan.unit)
        found.append(
            max(number, Value(plan.name, None, plan.unit, implausible=True), key=lambda each: len(dumps(each)))
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class CountedLabels:
    """Labels that the configuration names, for the pipeline and for each zone.

    Where the labels are None, only labels that are present are counted.
    """

    labels: tuple[str, ...] | None
    zones: Mapping[str, tuple[str, ...] | None]

    @classmethod
    def of(cls, plan: PipelinePlan) -> CountedLabels:
        """Return the labels of a pipeline."""
        return cls(plan.labels, {zone.name: plan.labels if zone.labels is None else zone.labels for zone in plan.zones})

    def filled(self, state: State) -> State:
        """Return the state with a zero count for each missing label of the configuration, if they fit."""
        if not isinstance(state.counts, Mapping):
            return state
        whole = replace(state, counts=_filled(state.counts, self.labels))
        if isinstance(state.zones, Mapping):
            zones = {name: _filled(counts, self.zones.get(name)) for name, counts in state.zones.items()}
            whole = replace(whole, zones=zones)
        if whole == state or _fits(whole):
            return whole
        without = replace(whole, ids=ABSENT)
        return without if _fits(without) else state


def _filled(counts: Mapping[str, int], labels: tuple[str, ...] | None) -> Mapping[str, int]:
    """Return the counts with a zero for each missing label, sorted by name."""
    return {label: counts.get(label, 0) for label in sorted({*counts, *(labels or ())})}


def _fits(state: State) -> bool:
    return len(dumps(replace(state, clock=ABSENT))) <= MAX_MESSAGE_BYTES - MARKS
