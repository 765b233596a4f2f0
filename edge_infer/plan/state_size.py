"""Check whether a pipeline's state has space for every label that its configuration names."""

from __future__ import annotations

from typing import Final

from edge_infer.contract.codec import ABSENT, dumps
from edge_infer.contract.messages import LineCounts, State
from edge_infer.plan.records import PipelinePlan

MARKS: Final = len(',"clock":"unsynced","replay":true')
"""Bytes reserved for marks that are added on the way to the broker."""
_TS: Final = "2026-01-01T00:00:00.000Z"
_BOOT: Final = "0" * 16
_OBJECTS: Final = 999
_CROSSED: Final = 999_999


def state_bytes(plan: PipelinePlan) -> int:
    """Return the most bytes of a state that counts each label of ``labels:``, by zone too; 0 without ``labels:``."""
    if plan.labels is None or plan.state_key != "counts":
        return 0
    zones = {zone.name: dict.fromkeys(zone.labels or plan.labels, _OBJECTS) for zone in plan.zones}
    lines = {line.name: LineCounts(_CROSSED, _CROSSED) for line in plan.lines}
    state = State(
        1, _TS, _BOOT, plan.model.title, plan.model.sha256[:8], _TS, dict.fromkeys(plan.labels, _OBJECTS),
        zones=zones or ABSENT, lines=lines or ABSENT,
    )  # fmt: skip
    return len(dumps(state)) + MARKS
