"""What the supervisor takes from an engine's reports: sequence numbers, and how long the engine may be silent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import MOST as HIGHEST
from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.ipc.activity_table import MOST
from edge_infer.ipc.messages import ApplyPlan, EngineReport, NumberedKind, Tally
from edge_infer.plan.switch_time import load_seconds
from edge_infer.supervisor.processes.child import STARTING

# The last sequence numbers of an engine that died: from its last report, and from memory that outlives it.

FURTHEST: Final = 1 << 20
"""Maximum difference between a sequence number and that of the last report. The report is one second old, and no model
gives that many results in a minute."""


def believed(before: tuple[Tally, ...], reported: tuple[Tally, ...]) -> tuple[Tally, ...]:
    """Return the reported tallies; previous tallies replace implausible ones."""
    known = {(tally.pipeline, tally.kind): tally for tally in before}
    found: list[Tally] = []
    for tally in reported:
        last = known.get((tally.pipeline, tally.kind))
        highest = max(tally.given, tally.safe, tally.lost)
        if highest - (last.given if last else 0) <= FURTHEST:
            found.append(tally)
        elif last:
            found.append(last)
    return tuple(found)


def all_numbered(reported: tuple[Tally, ...], seen: Mapping[tuple[str, NumberedKind], int]) -> tuple[Tally, ...]:
    """Return the tallies, raised to the highest plausible sequence numbers that were used after the report."""
    tallies = {(tally.pipeline, tally.kind): tally for tally in reported}
    for series, seq in seen.items():
        known = tallies.get(series)
        if seq - (known.given if known else 0) > FURTHEST:
            continue
        if known is not None:
            tallies[series] = replace(known, given=min(HIGHEST, max(known.given, seq)))
        elif re.fullmatch(NAME_PATTERN, series[0]) and len(tallies) < MOST:
            tallies[series] = Tally(*series, seq)
    return tuple(tallies.values())


# How long the engine and the publisher may be silent before they count as hung.
#
# Each of them reports once per second.

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
