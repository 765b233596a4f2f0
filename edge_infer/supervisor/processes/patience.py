"""How long the engine and the publisher may be silent before they count as hung.

Each of them reports once per second.
"""

from __future__ import annotations

from typing import Final

from edge_infer.ipc.messages import ApplyPlan, EngineReport
from edge_infer.plan.switch_time import load_seconds
from edge_infer.supervisor.processes.child import STARTING

SILENT: Final = 5.0
"""Seconds of silence after which a process counts as hung."""
TURN: Final = 0.01
"""Seconds after the end of its time limit at which the main loop checks a silent process."""
PICTURE: Final = 10.0
"""Seconds for which the engine may be silent in addition while it encodes a full-size picture for a person."""
FRESH: Final = 2.0
"""Seconds of silence after which an engine may already hang. An order for a picture then adds no `PICTURE`."""


def engine_patience(report: EngineReport | None, order: ApplyPlan | None, trial: float | None) -> float:
    """Return the seconds that the engine may be silent, given its last report and the order that it processes.

    A model that is being loaded can block all threads of the engine. ``trial`` is the limit while a model is on
    probation. A frame may always take ten times as long as measured.
    """
    if report is None or order is None:
        return STARTING
    models = (*order.plan.models(), *order.plan.shadows())
    patience = max((min(SILENT, trial or SILENT), *(model.longest_frame() for model in models)))
    if not report.loading and report.order == order.order:
        return patience
    return patience + sum(map(load_seconds, models))
