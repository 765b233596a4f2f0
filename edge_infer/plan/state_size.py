"""Labels that a state counts even if no such object is present, and whether the state has room for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.codec import ABSENT, dumps, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, LineCounts, State, Value
from edge_infer.plan.records import PipelinePlan, ValuePlan

MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes reserved for marks that the publisher adds before sending."""
_TS: Final = "2026-01-01T00:00:00.000Z"
_BOOT: Final = "0" * 16
_OBJECTS: Final = 999
_CROSSED: Final = 999_999
_UNBOUNDED: Final = 999_999.0


def state_bytes(plan: PipelinePlan) -> int:
    """Return the maximum bytes of a state that counts each label of ``labels:``, also by zone, or has these values.

    Return 0 if that is unknown, that is, without ``labels:``. A value without bounds is assumed to have six digits
    before the decimal point.
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

    None: only labels that are present are counted.
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
