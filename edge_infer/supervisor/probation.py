"""Whether a model on probation has shown what it is, by what the engine says of every pipeline that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.config.plan import PipelinePlan
from edge_infer.rooms import EngineReport, Running
from edge_infer.supervisor.outward import quoted

ENOUGH: Final = 100
"""Frames after which probation ends."""
LONG_ENOUGH: Final = 60.0
FEW: Final = 10
"""Seconds after which fewer frames will do."""
HUNG: Final = 2.0
"""Seconds over its limit after which a frame on probation does not come back."""
LOADS: Final = 60.0
"""Seconds after which a model that is still being loaded never will be."""
SILENT: Final = 3.0
"""Seconds that an engine with a model on probation may say nothing, at least."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of it; ``stuck``: it has to be killed first, and ``why`` is what the engine has been doing."""

    what: Literal["good", "rejected", "rolled_back", "stuck"]
    why: str = ""


def judge(pipelines: Sequence[PipelinePlan], sha: str, report: EngineReport, waited: float) -> Verdict | None:
    """The verdict on a model that these pipelines run, ordered ``waited`` seconds ago; None: it is too early."""
    running = [report.running[each.name] for each in pipelines if each.name in report.running]
    for each in running:
        if each.refused == sha:
            return Verdict("rejected", f"it cannot be loaded: {quoted(each.why)}")
        if each.sha == sha and each.fault:
            return Verdict("rolled_back", quoted(each.fault))
    if report.loading:  # all threads may have to wait for that
        never = waited > LOADS and any(each.name in report.loading for each in pipelines)
        return Verdict("stuck", f"has been loading {_name(pipelines)} for {LOADS:.0f} s") if never else None
    limit = pipelines[0].model.patience() if pipelines else 0.0
    if hung := [each for each in running if each.sha == sha and each.busy > limit + HUNG]:
        return Verdict("stuck", f"has computed one frame of {_name(pipelines)} for {hung[0].busy:.1f} s")
    everywhere = running and len(running) == len(pipelines) and all(each.sha == sha for each in running)
    return Verdict("good", _story(running[0])) if everywhere and _enough(running) else None


def silence(pipelines: Sequence[PipelinePlan]) -> float | None:
    """Seconds that the engine may say nothing while these pipelines run models on probation; None: as usual."""
    return max((SILENT, *(each.model.patience() + HUNG for each in pipelines))) if pipelines else None


def _name(pipelines: Sequence[PipelinePlan]) -> str:
    return pipelines[0].model.name


def _enough(running: Sequence[Running]) -> bool:
    frames, seconds = sum(each.frames for each in running), min(each.seconds for each in running)
    return frames >= ENOUGH or (seconds >= LONG_ENOUGH and frames >= FEW)


def _story(running: Running) -> str:
    """How the switch went."""
    return (
        f"loaded in {running.load * 1000:.0f} ms, other pipelines waited {running.pause * 1000:.0f} ms at most; "
        f"{running.gap * 1000:.0f} ms between two outcomes"
    )
