"""The effective plan: that of the configuration, with rejected models replaced and failed delegates left out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import timestamp
from edge_infer.errors import shortened
from edge_infer.models.serving_record import Fit, ServingRecord, Slot
from edge_infer.plan.records import DelegatePlan, ModelPlan, PipelinePlan, Plan
from edge_infer.platform.memory import SPARE_BYTES, free_memory
from edge_infer.supervisor.rollout.shadows import shadowed


def effective(wanted: Plan, record: ServingRecord) -> Plan:
    """Return the plan with the fallback in place of each rejected model, and with the shadows that may run.

    A pipeline without a usable fallback (`without_model`) keeps its rejected model; the caller must not run it.
    """
    pipelines = []
    for pipeline in wanted.pipelines:
        fit, why = record.fallback(pipeline, wanted.signers)
        pipelines.append(pipeline if fit is None or why else fit.onto(pipeline))
    names = tuple(model.name for model in wanted.models())
    return shadowed(replace(wanted, pipelines=tuple(pipelines), names=names), record)


def without_model(wanted: Plan, record: ServingRecord) -> dict[str, str]:
    """Return the pipelines with a rejected model and a fallback that must not replace it, with the reasons."""
    reasons = {each.name: record.fallback(each, wanted.signers)[1] for each in wanted.pipelines}
    return {name: why for name, why in reasons.items() if why}


def unknown_labels(wanted: Plan, plan: Plan) -> dict[str, str]:
    """Return the pipelines whose fallback lacks labels that they, their zones or lines select, with the reasons."""
    found, models = {}, {each.name: each.model for each in plan.pipelines}
    for asked, runs in zip(wanted.pipelines, plan.pipelines, strict=True):
        pairs = [(asked.labels, runs.labels)]
        pairs += [(one.labels, other.labels) for one, other in zip(asked.zones, runs.zones, strict=True)]
        pairs += [(one.labels, other.labels) for one, other in zip(asked.lines, runs.lines, strict=True)]
        if missing := _missing(pairs):
            found[runs.name] = f"{runs.model.title} has no label {missing}, so the pipeline does not report it"
        above = models.get(runs.crops.pipeline) if runs.crops else None
        if runs.crops and above and (missing := _missing([(runs.crops.labels, above.labels)])):
            found[runs.name] = f"{above.title} has no label {missing}, so the pipeline examines no object with it"
    return found


def _missing(pairs: Iterable[tuple[Sequence[str] | None, Sequence[str] | None]]) -> str:
    """Return a list of the missing labels as text. Each pair holds the selected labels and the known ones."""
    return ", ".join(
        dict.fromkeys(label for wish, there in pairs for label in wish or () if label not in (there or ()))
    )


def with_slots(wanted: Plan, record: ServingRecord) -> ServingRecord:
    """Return the record with slots for these pipelines only. A renamed pipeline gets the slot of its model.

    A renamed model gets its new name. A pipeline with a changed kind of input has no fallback.
    """
    slots = {}
    for pipeline in wanted.pipelines:
        slot = record.slots.get(pipeline.name)
        if slot is not None and slot.committed.model.input.takes == pipeline.model.input.takes:
            slots[pipeline.name] = replace(slot, committed=_called(slot.committed, pipeline.model))
        elif fit := record.predecessor(pipeline):
            slots[pipeline.name] = Slot(fit, None, timestamp(time.time()))
    return replace(record, slots=slots)


def with_manifests(wanted: Plan, record: ServingRecord) -> ServingRecord:
    """Add current manifests to a record that an older version of this program wrote without any."""
    slots = dict(record.slots)
    for pipeline in wanted.pipelines:
        slot = slots.get(pipeline.name)
        model = slot.committed.model if slot is not None else pipeline.model
        if slot is not None and not model.manifest and model.sha256 == pipeline.model.sha256:
            fit = replace(slot.committed, model=replace(model, manifest=pipeline.model.manifest))
            slots[pipeline.name] = replace(slot, committed=fit)
    return replace(record, slots=slots)


def _called(fit: Fit, model: ModelPlan) -> Fit:
    """Return the model in service, with the name that the configuration uses for the same model."""
    return replace(fit, model=replace(fit.model, name=model.name)) if fit.model.identity == model.identity else fit


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


# Memory check: whether a model fits into memory beside the model that it replaces.


def suffices(before: Plan | None, after: Plan, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the pipelines whose next model would not fit beside the current one.

    Models without a measured size are assumed to fit.
    """
    former = {pipeline.name: pipeline.model.sha256 for pipeline in before.pipelines} if before else {}
    room = free_memory(root)
    alone = []
    for pipeline in after.pipelines:
        need = pipeline.model.measured.memory
        if former.get(pipeline.name, pipeline.model.sha256) == pipeline.model.sha256 or need is None or room is None:
            continue
        room -= need
        if room < SPARE_BYTES:
            alone.append(pipeline.name)
    return tuple(alone)
