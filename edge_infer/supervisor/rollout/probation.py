"""The verdict on a model on probation, from the engine's reports about every pipeline that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.errors import quoted
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.plan.records import PipelinePlan
from edge_infer.plan.switch_time import LOADS, SLOWER

ENOUGH: Final = 100
"""Number of frames after which probation ends."""
LONG_ENOUGH: Final = 60.0
FEW: Final = 10
"""Minimum number of frames with which probation may already end after `LONG_ENOUGH` seconds."""
HUNG: Final = 2.0
"""Seconds beyond its limit after which a frame on probation counts as hung."""
SILENT: Final = 3.0
"""Minimum time, in seconds, that an engine with a model on probation may be silent."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a model. ``stuck``: the engine must be killed first; ``why`` describes the hang."""

    what: Literal["good", "rejected", "rolled_back", "stuck"]
    why: str = ""


def judge(pipelines: Sequence[PipelinePlan], sha: str, report: EngineReport, waited: float) -> Verdict | None:
    """Return the verdict on a model that these pipelines run, ordered ``waited`` seconds ago; None: too early."""
    running = [report.running[each.name] for each in pipelines if each.name in report.running]
    for each in running:
        if each.refused == sha:
            return Verdict("rejected", f"it cannot be loaded: {quoted(each.why)}")
        if each.sha == sha and each.fault:
            return Verdict("rolled_back", quoted(each.fault))
    if report.loading:  # loading may block all threads
        never = waited > LOADS and any(each.name in report.loading for each in pipelines)
        return Verdict("stuck", f"has been loading {_name(pipelines)} for {LOADS:.0f} s") if never else None
    limit = pipelines[0].model.patience() if pipelines else 0.0
    if any(each.sha == sha and each.busy > limit + HUNG for each in running):
        return Verdict("stuck", f"has computed one frame of {_name(pipelines)} for more than {limit + HUNG:.1f} s")
    everywhere = running and len(running) == len(pipelines) and all(each.sha == sha for each in running)
    return Verdict("good", _story(running[0])) if everywhere and _enough(running) else None


def hung_loads(pipelines: Sequence[PipelinePlan], report: EngineReport, waited: float) -> dict[str, float]:
    """Return the pipelines whose first model has been loading for far too long, each with its limit in seconds.

    A model without a trial has no measured loading time. It may be large and on a slow card, so its limit is ten times
    `LOADS`.
    """
    loading = [each for each in pipelines if each.name in report.loading]
    limits = {each.name: max(LOADS, SLOWER * (each.model.measured.load or LOADS)) for each in loading}
    return {name: limit for name, limit in limits.items() if waited > limit}


def silence(pipelines: Sequence[PipelinePlan]) -> float | None:
    """Return the seconds that the engine may be silent while these models are on probation; None: the usual limit."""
    return max((SILENT, *(each.model.patience() + HUNG for each in pipelines))) if pipelines else None


def _name(pipelines: Sequence[PipelinePlan]) -> str:
    return pipelines[0].model.name


def _enough(running: Sequence[Running]) -> bool:
    frames, seconds = sum(each.frames for each in running), min(each.seconds for each in running)
    return frames >= ENOUGH or (seconds >= LONG_ENOUGH and frames >= FEW)


def _story(running: Running) -> str:
    """Return the durations of the replacement as text.

    The text contains no gap if the engine was restarted during the probation, because the new engine does not know the
    time of the last outcome before the replacement.
    """
    gap = f"; {running.gap * 1000:.0f} ms between two outcomes" if running.gap else ""
    return f"loaded in {running.load * 1000:.0f} ms, other pipelines waited {running.pause * 1000:.0f} ms at most{gap}"
