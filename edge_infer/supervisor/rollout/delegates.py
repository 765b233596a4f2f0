"""Delegates that run models: their published status, and those that were given up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import DelegateStatus
from edge_infer.errors import quoted, shortened
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.plan.records import DelegatePlan, PipelinePlan, Plan


def delegated(pipelines: Iterable[PipelinePlan], report: EngineReport) -> Mapping[str, DelegateStatus] | Absent:
    """Return the delegate status by pipeline, once the engine has loaded it.

    The library name comes from the plan, without its folder.
    """
    found = {}
    for each in pipelines:
        running = report.running.get(each.name, Running(None)).delegate
        if each.delegate is None or running is None:
            continue
        why = each.delegate.unusable or (running.failure and quoted(running.failure))
        library = Path(each.delegate.library).name[:255]
        found[each.name] = DelegateStatus(library, running.share, shortened(why) or ABSENT)
    return found or ABSENT


class Delegates:
    """Delegates that crashed the engine. The processor replaces them until the configuration changes them."""

    def __init__(self) -> None:
        self._given_up: dict[str, tuple[DelegatePlan, str]] = {}

    def gave_up(self, pipeline: PipelinePlan, why: str) -> bool:
        """Move the pipeline's model to the processor. Return False if the plan forbids it or no delegate is in use."""
        delegate = pipeline.delegate
        if delegate is None or delegate.unusable or delegate.on_failure != "cpu":
            return False
        self._given_up[pipeline.name] = delegate, shortened(why)
        return True

    def without(self, plan: Plan) -> Plan:
        """Return the plan with the given-up delegates marked as unusable. A changed delegate is tried again."""
        wanted = {each.name: each.delegate for each in plan.pipelines}
        self._given_up = {name: each for name, each in self._given_up.items() if wanted.get(name) == each[0]}
        pipelines = [
            replace(each, delegate=replace(each.delegate, unusable=self._given_up[each.name][1]))
            if each.delegate is not None and each.name in self._given_up
            else each
            for each in plan.pipelines
        ]
        return replace(plan, pipelines=tuple(pipelines))
