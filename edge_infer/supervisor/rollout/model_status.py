"""Published status of every model: the model in service, the one on probation, and the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import DelegateStatus, ModelStatus
from edge_infer.errors import quoted, shortened
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.models.serving_record import Refusal, ServingRecord
from edge_infer.plan.records import ModelPlan, PipelinePlan, Plan
from edge_infer.supervisor.rollout.rollout import ModelRollout
from edge_infer.supervisor.rollout.shadows import compared


def standing(swap: ModelRollout, report: EngineReport) -> dict[str, ModelStatus]:
    """Return a status for each model of the configuration and each model in service.

    A fallback that no pipeline requests by name gets a status only once the engine runs it.
    """
    plan, wanted = swap.plan, swap.wanted
    if plan is None or wanted is None:
        return {}
    found = {}
    for name, model in {model.name: model for model in (*plan.models(), *wanted.models())}.items():
        asked = [each for each in wanted.pipelines if each.model.name == name]
        by_name = {each.name for each in asked}
        serving = [
            each
            for each in plan.pipelines
            if each.model.name == name and (each.name in by_name or _runs(swap, each, report))
        ]
        if not asked and not serving:
            continue
        runs = any(each.name not in swap.held for each in serving)
        status = _status(swap, model, serving if runs else _of(plan, asked) or serving, report)
        shadow = compared(swap.record, asked, report, swap.waiting)
        found[name] = replace(status, delegate=delegated(serving, report), shadow=shadow)
    return found


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


def _of(plan: Plan, asked: list[PipelinePlan]) -> list[PipelinePlan]:
    """Return the running pipelines that requested this model but run one of another name, because it was refused.

    Without them, the status of a model that was rolled back would report that no model serves.
    """
    names = {each.name for each in asked}
    return [each for each in plan.pipelines if each.name in names]


def _runs(swap: ModelRollout, pipeline: PipelinePlan, report: EngineReport) -> bool:
    """Return whether a pipeline already runs the model of its plan."""
    return _running(swap, pipeline, report).sha == pipeline.model.identity


def _status(swap: ModelRollout, wanted: ModelPlan, pipelines: list[PipelinePlan], report: EngineReport) -> ModelStatus:
    record = swap.record
    running = [_running(swap, each, report) for each in pipelines]
    target = _allowed(swap, pipelines)[0].model if pipelines else None
    serving = _serving(swap, pipelines, report)
    version, sha = (serving.version, serving.sha256[:8]) if serving else (None, None)
    previous = _previous(record, pipelines, serving)
    refusal, trial = record.refusal(wanted), record.trials.get(wanted.name)
    why = shortened(next((quoted(each.why) for each in running if each.refused), ""))
    stops = any(each.name in swap.held and one.sha for each, one in zip(pipelines, running, strict=True))
    if refusal is not None and (stops or _going_back(refusal, target, serving)) and not why:
        watched = serving is not None and not _was_committed(record, pipelines, refusal)
        state: Literal["probation", "staging"] = "probation" if watched else "staging"
        following = (
            refusal.sha if watched or target is None else target.sha256
        )  # the model that is being loaded is the fallback
        return ModelStatus(state, version, sha, ABSENT, previous, following[:8])
    held = next((swap.held[each.name] for each in pipelines if each.name in swap.held), None)
    if refusal is not None:
        alone = held if target is not None and refusal.about(target) else None  # no model may replace it
        reason = alone or shortened("; ".join((refusal.reason, *swap.why_no_model(pipelines))))
        return ModelStatus(refusal.state, version, sha, reason, previous, refusal.sha[:8])
    if trial is not None and serving is not None and serving.identity == trial.which:
        return ModelStatus("probation", version, sha, ABSENT, previous, trial.sha[:8])
    if held is not None:
        return ModelStatus("rejected", version, sha, held, previous, wanted.sha256[:8])
    if (unfit := swap.unfit.get(wanted.name)) is not None:
        candidate: str | Absent = unfit.sha256[:8] if unfit.sha256 else ABSENT
        return ModelStatus("rejected", version, sha, unfit.reason, previous, candidate)
    if serving is not None and serving is target:
        return ModelStatus("active", version, sha, ABSENT, previous)
    candidate = target.sha256[:8] if target else wanted.sha256[:8]
    return ModelStatus("rejected" if why else "staging", version, sha, why or ABSENT, previous, candidate)


def _running(swap: ModelRollout, pipeline: PipelinePlan, report: EngineReport) -> Running:
    """Return what a pipeline runs. Without a report, an inactive pipeline counts as running the model of its plan."""
    resumes = pipeline.name in swap.inactive and pipeline.name not in swap.held
    return report.running.get(pipeline.name, Running(pipeline.model.identity if resumes else None))


def _allowed(swap: ModelRollout, pipelines: list[PipelinePlan]) -> list[PipelinePlan]:
    """Return the pipelines that are not held back after crashes. If all are held back, return them all."""
    return [each for each in pipelines if each.name not in swap.held] or pipelines


def _going_back(refusal: Refusal, target: ModelPlan | None, serving: ModelPlan | None) -> bool:
    """Return whether the fallback does not run yet. A model counts as rolled back only once the fallback runs."""
    return refusal.state == "rolled_back" and target is not None and not refusal.about(target) and serving is not target


def _was_committed(record: ServingRecord, pipelines: list[PipelinePlan], refusal: Refusal) -> bool:
    """Return whether the refused model had been committed: its predecessor took its slot at the refusal."""
    slots = (record.slots.get(each.name) for each in pipelines)
    return any(slot is not None and slot.ts == refusal.ts for slot in slots)


def _serving(swap: ModelRollout, pipelines: list[PipelinePlan], report: EngineReport) -> ModelPlan | None:
    """Return the model that these pipelines run: the requested model, or the previous one if it still runs.

    Pipelines that request the same model name may run several models, because each has its own fallback; then return
    the first. A pipeline in quarantine runs none.
    """
    allowed = _allowed(swap, pipelines)
    if allowed and all(_runs(swap, each, report) for each in allowed):
        return allowed[0].model
    shas = {_running(swap, each, report).sha for each in pipelines}
    before = swap.before.models() if swap.before else ()
    return next((model for model in before if model.identity in shas), None)


def _previous(record: ServingRecord, pipelines: list[PipelinePlan], serving: ModelPlan | None) -> str | Absent:
    for pipeline in pipelines:
        slot = record.slots.get(pipeline.name)
        for fit in (slot.committed, slot.previous) if slot else ():
            if fit is not None and serving is not None and fit.model.identity != serving.identity:
                return fit.model.sha256[:8]
    return ABSENT
