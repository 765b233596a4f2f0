"""What is told of the delegates that run models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_infer.codec import ABSENT, Absent
from edge_infer.config.plan import PipelinePlan
from edge_infer.messages import DelegateStatus
from edge_infer.rooms import EngineReport, Running
from edge_infer.supervisor.outward import quoted


def delegated(pipelines: Iterable[PipelinePlan], report: EngineReport) -> Mapping[str, DelegateStatus] | Absent:
    """By pipeline, once the engine has loaded it; the library is named as the plan has it, without its folder."""
    found = {}
    for each in pipelines:
        running = report.running.get(each.name, Running(None)).delegate
        if each.delegate is None or running is None:
            continue
        why = each.delegate.unusable or (running.failure and quoted(running.failure))
        library = Path(each.delegate.library).name[:255]
        found[each.name] = DelegateStatus(library, running.share, why[:500] or ABSENT)
    return found or ABSENT
