"""Rollout of models: each pipeline runs the model that the configuration names, unless that model has failed.

A changed model is recorded as being on probation before the engine receives it. After enough frames it is committed. If
it fails, or if the engine dies during probation, the pipeline gets its previous model back. Every step is written to
the disk before it takes effect.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import timestamp
from edge_infer.errors import EdgeInferError, shortened
from edge_infer.ipc.messages import ApplyPlan, EngineReport
from edge_infer.models.serving_record import (
    UNTRUSTED,
    Fit,
    Happened,
    OnTrial,
    Refusal,
    Refused,
    ServingRecord,
    Slot,
    What,
    remaining,
    trusted,
)
from edge_infer.plan.records import Compiled, ModelPlan, PipelinePlan, Plan, Unfit
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.rollout.crash_loops import (
    CrashLoopDetector,
    EngineDeath,
    PipelineQuarantine,
    Standing,
    named,
)
from edge_infer.supervisor.rollout.effective_plan import (
    Delegates,
    effective,
    suffices,
    unknown_labels,
    with_manifests,
    with_slots,
    without_model,
)
from edge_infer.supervisor.rollout.probation import hung_loads, judge, silence
from edge_infer.supervisor.rollout.serving_ledger import ServingLedger
from edge_infer.supervisor.rollout.shadows import Admission, asked_again, ending, failed, still_wanted
from edge_infer.supervisor.schedule import PipelineSchedule

log = logging.getLogger(__name__)

STARTS: Final = 3
"""Number of starts of the daemon with the same model on probation after which the model is rolled back. Only starts
after a disorderly stop count."""


class ModelRollout:
    """Owns the record of serving models, and sends the plan to the processes."""

    def __init__(self, house: ProcessSupervisor) -> None:
        self.plan: Plan | None = None
        """The plan that is in effect."""
        self.before: Plan | None = None
        """The previous plan, which still runs until the engine has changed to the new one."""
        self.wanted: Plan | None = None
        """The plan that the configuration requests."""
        self.schedule = PipelineSchedule()
        self.inactive: Mapping[str, str] = {}
        """Pipelines that are outside their hours or paused, with the reasons."""
        self.held: Mapping[str, str] = {}
        """Pipelines that may not run now, with the reasons."""
        self.unfit: dict[str, Unfit] = {}
        """Models that the last configuration names but that cannot be used."""
        self.swaps: Counter[tuple[str, str]] = Counter()
        """Numbers of models committed and rolled back since the start, by name and outcome."""
        self._house = house
        self._ledger = ServingLedger(house.note)
        self._admission = Admission()
        self._holds = PipelineQuarantine()
        self._delegates = Delegates()
        self._gaps: Mapping[str, str] = {}  # shortcomings of fallbacks, by pipeline
        self._order = 0
        self._ordered = 0.0
        self._deaths = CrashLoopDetector()

    @property
    def record(self) -> ServingRecord:
        """The record of all models on this device."""
        return self._ledger.record

    @property
    def waiting(self) -> Mapping[str, str]:
        """The reasons why permitted shadows still wait, by pipeline."""
        return self._admission.reasons

    def decisions(self) -> tuple[object, ...]:
        """Return all decisions about models by the supervisor itself; no report of the engine changes the result."""
        return self.plan, self.record, self.held, tuple(self.inactive), tuple(self.unfit.items())

    def _without_model(self) -> dict[str, str]:
        return {} if self.wanted is None else without_model(self.wanted, self.record)

    def why_no_model(self, pipelines: Iterable[PipelinePlan]) -> list[str]:
        """Return a sentence with the reason for each of these pipelines that runs no model."""
        lost = self._without_model()
        reasons = {**self.held, **lost}
        names = [each.name for each in pipelines if each.name in self.held]
        return [f"pipeline {name} has no model: {reasons[name]}" for name in names]

    # Called by the supervisor.

    def open(self, state_dir: Path) -> None:
        """Read the record, and count one more start for each model on probation."""
        self._ledger.open(state_dir)
        self.schedule.open(state_dir)
        trials = {name: replace(trial, starts=trial.starts + 1) for name, trial in self.record.trials.items()}
        if trials:
            self._ledger.keep(replace(self.record, trials=trials))

    def apply(self, wanted: Plan, by: str = "configuration") -> None:
        """Apply a plan as far as its models may run.

        Raises `StartError` before any change if the record cannot be written.
        """
        self._apply(self.record, wanted, by)

    def _apply(self, record: ServingRecord, wanted: Plan, by: str) -> None:
        record = with_manifests(wanted, record)
        trials = {}
        for pipeline in wanted.pipelines:
            model = pipeline.model
            if self._on_probation(record, pipeline):
                trials[model.name] = model
        record = self._superseded(record, trials.values(), by)
        for name, model in trials.items():
            if name not in record.trials:
                now = timestamp(time.time())
                trial = OnTrial(model.sha256, model.title, now, identity=model.identity)
                record = replace(record, trials={**record.trials, name: trial})
                why = "; ".join(filter(None, (_difference(record, model), model.origin)))
                record = record.told(self._line(model, "tried", by, why))
        record = still_wanted(with_slots(wanted, record), wanted)
        self._ledger.enter(record)
        self.wanted = wanted
        self._roll_back_restless()
        self._again()

    def record_reading(self, compiled: Compiled) -> None:
        """Record the signature keys that a reading of the configuration found, and the models that cannot be used.

        A failed trial is not repeated. The keys count even if the reading was rejected, so that no model that depends
        on a removed key returns.
        """
        self.unfit = {each.name: each for each in compiled.unfit}
        record, now = self.record, timestamp(time.time())
        if compiled.signers is not None or compiled.plan is not None:
            record = record.with_keys(ABSENT if compiled.signers is None else compiled.signers)
        elif record.keys is not ABSENT:
            log.warning("cannot read the keys of security.keys; rollbacks trust those that the daemon read before")
        good = {slot.committed.model.sha256 for slot in record.slots.values()}  # these once worked
        for each in compiled.unfit:
            if each.tried and each.sha256 and each.sha256 not in good:
                refusal = Refusal(each.sha256, each.title, each.entry, "rejected", each.reason, now)
                line = Happened(now, each.name, "rejected", each.sha256, each.title, "daemon", each.reason)
                record = record.refusing(each.name, refusal).told(line)
        if record != self.record:
            self._ledger.keep(record)

    def hear(self) -> None:
        """Evaluate the last report of the engine."""
        self._ledger.catch_up()
        report = self._house.heard.engine
        if report is None or self.plan is None or report.order != self._order:
            return
        self._first(report)
        self._end_shadows(failed(self.plan, report))
        for name in list(self.record.trials):
            self._judge(name, report)
        self._hold_hung(report)
        inactive = self.schedule.inactive(self.plan)
        changed = self.held != self._held(self.plan) or self.inactive.keys() != inactive.keys()
        self.inactive = inactive
        if self._admission.next_one(report) or changed:
            self._again()

    def engine_died(self, death: EngineDeath) -> None:
        """Attribute a death of the engine to the shadows or, without any, to the models on probation.

        Without both, a death counts against busy pipelines if they are on parole or if it completes a crash loop.
        """
        if self.plan is None:
            return
        if shadows := [each.name for each in self.plan.pipelines if each.shadow]:
            self._end_shadows(dict.fromkeys(shadows, f"the {death.how} while it was a shadow"))
        elif trials := list(self.record.trials):
            for name in trials:
                self._refuse(name, "rolled_back", f"the {death.how} while it was on probation", "daemon")
            self._deaths.clear()  # the cause has been found
        elif again := self._holds.relapsed(death, self.plan):
            self._blame(again, death)
        elif (loop := self._deaths.add(death)) is not None:
            ours = {each.name for each in self.plan.pipelines}  # the engine's own list cannot be trusted
            suspects = self._holds.suspects(loop.busy & ours)
            if suspects and loop.fell:
                self._blame(suspects, loop)
            elif not loop.memory:  # after a lack of memory, the cause is unknown
                self._blame_replacement(suspects, loop.how)

    def _hold_hung(self, report: EngineReport) -> None:
        """Put pipelines into quarantine if their first model hangs while it is loaded. A new engine runs the others."""
        assert self.plan is not None
        since = max(self._ordered, self._house.engine.started)
        waited = time.monotonic() - since - self._house.stalls.since(since)
        first = [each for each in self.plan.pipelines if each.model.name not in self.record.trials]
        if hung := hung_loads(first, report, waited):
            why = f"has been loading the model of {named(list(hung))} for more than {min(hung.values()):.0f} s"
            self._house.kill_engine(why, blameless=True)
            self._hold(hung, f"engine {why}")

    def close(self) -> None:
        """Count no start against a model on probation: only starts after a disorderly end of the daemon count.

        Also save the remaining time of the pauses.
        """
        self.schedule.close()
        trials = {name: replace(trial, starts=0) for name, trial in self.record.trials.items()}
        if trials != self.record.trials:
            self._ledger.keep(replace(self.record, trials=trials))

    # Requests by users.

    def roll_back(self, name: str, by: str) -> str:
        """Roll back to the previous model; return the result as text.

        Raises `EdgeInferError` if there is no previous model, or if a pipeline would then have no model.
        """
        model = self._running_as(name)
        if name not in self.record.trials and self._before(model) is None:
            refused = (each for each in self._asking(name) if self.record.refusal(each.model))
            why = "; ".join(self.why_no_model(refused)) or (
                f"there is no previous model of {name}: the daemon keeps only the one before the current model"
            )
            raise EdgeInferError(
                f"{why}; to use any package of the store: edge-infer models use {name} PACKAGE@VERSION"
            )
        if lost := self._would_lose(name):
            raise EdgeInferError(f"{name} keeps {model.title}: {'; '.join(lost)}")
        self._refuse(name, "rolled_back", f"requested by {by}", by)
        return self._now(name)

    def retry(self, name: str, by: str) -> str:
        """Retry the refused models or shadows of this name, or end the quarantine of its pipelines.

        Return the result as text. Raises `EdgeInferError` before any change.
        """
        if name in self.record.refused:
            self._running_as(name)
        if untrusted := self._untrusted(name):
            raise EdgeInferError(untrusted)
        if (record := asked_again(self.record, name, by)) != self.record:
            self._ledger.keep(record)
            if name not in record.refused:
                self._again()
                return f"the shadow of {name} runs again"
        if self._holds.free(each.name for each in self._of(name)):
            self._ledger.keep(self.record.told(self._line(self._running_as(name), "retry", by, "held back before")))
            self._again()
            return f"{name} runs again"
        if name not in self.record.refused:
            if name not in (known := self._names(shadows=True)):
                raise _unknown(name, known)
            if name in self.unfit:
                raise EdgeInferError(
                    f"{name}: the configuration that names the rejected model was rejected, so there is nothing to "
                    f"retry: {self.unfit[name].reason}; correct it, then run: edge-infer reload"
                )
            raise EdgeInferError(
                f"no model of {name} was rejected or rolled back; edge-infer models history shows its changes"
            )
        assert self.wanted is not None
        refused, now = dict(self.record.refused), timestamp(time.time())
        news = [Happened(now, name, "retry", each.sha, each.title, by) for each in refused.pop(name)]
        self._apply(replace(self.record, refused=refused).told(*news), self.wanted, by)
        return self._now(name)

    def _untrusted(self, name: str) -> str:
        """Return the reason why the refused models of this name must not be tried again; empty if they may."""
        pipelines = self.wanted.pipelines if self.wanted is not None else ()
        refused = [each.model for each in pipelines if self.record.refusal(each.model)]
        refused += [each.shadow.model for each in pipelines if each.shadow and self.record.shadow_ended(each)]
        lost = (each for each in refused if each.name == name and not trusted(each, self._signers()))
        return next((f"{name}: {each.title} is not tried again: {UNTRUSTED}" for each in lost), "")

    def _signers(self) -> Collection[str] | None:
        """Return the keys of the applied plan that have not been removed since; None if no signature is required."""
        return remaining(self.wanted.signers, self.record.keys) if self.wanted is not None else None

    # Rules.

    def _blame(self, suspects: Collection[str], death: EngineDeath) -> None:
        """Blame the suspect with the newest model: give up its delegate, roll it back, or put it into quarantine.

        It is rolled back only if it has a fallback, no other pipeline was busy, and memory was not short. Otherwise
        another pipeline or another program may be the cause, and no model must be able to have another one rolled back.
        If the engine also dies while the suspect is in quarantine, something else was the cause.
        """
        name = self._newest(suspects)
        if self._without_delegate(name, death.how):
            self._deaths.clear()
        else:
            alone = death.busy == {name} and not death.others
            self._roll_back_or_hold(name, death.how, certain=alone and not death.memory)

    def _blame_replacement(self, busy: Collection[str], how: str) -> None:
        """Roll back the most recent replacement, for deaths that count against no pipeline.

        If any pipelines were ``busy`` at every death, consider only these.
        """
        slots = self.record.slots
        names = [name for name in busy or slots if name in slots and slots[name].previous is not None]
        if names:
            self._roll_back_or_hold(self._newest(names), how, certain=True)

    def _roll_back_or_hold(self, name: str, how: str, *, certain: bool) -> None:
        slot = self.record.slots.get(name)
        if certain and slot is not None and slot.previous is not None and not self._unusable(name, slot.previous):
            self._refuse(slot.committed.model.name, "rolled_back", f"the {how}", "daemon")
        else:
            self._hold([name], f"{how},", "sole" if certain else "suspect")
        self._deaths.clear()

    def _unusable(self, name: str, fit: Fit) -> str:
        """Return the reason why a fallback must not serve in a pipeline of the configuration; empty if it may."""
        assert self.wanted is not None
        found = (each for each in self.wanted.pipelines if each.name == name)
        return next((fit.unusable(each, self._signers()) for each in found), "")

    def _without_delegate(self, name: str, how: str) -> bool:
        """Move the pipeline's model from its delegate to the processor.

        Return False if the plan does not allow this move.
        """
        assert self.plan is not None
        pipeline = next(each for each in self.plan.pipelines if each.name == name)
        why = f"the {how} while {name} was at work with its delegate"
        if not self._delegates.gave_up(pipeline, why):
            return False
        log.error("pipeline %s: the processor now runs its model instead of the delegate: %s", name, why)
        self._house.note(f"pipeline {name}: the processor now runs its model instead of the delegate: {why}")
        self._again()
        return True

    def _hold(self, names: Collection[str], how: str, standing: Standing = "sole") -> None:
        """Put these pipelines into quarantine; the others keep running."""
        assert self.plan is not None
        pipelines = [each for each in self.plan.pipelines if each.name in names]
        self._holds.hold(pipelines, how, standing)
        reasons = self._holds.held(self.plan)
        lines = [self._line(each.model, "held_back", "daemon", reasons[each.name]) for each in pipelines]
        self._ledger.keep(self.record.told(*lines))
        for each in pipelines:
            log.error("pipeline %s is held back: %s", each.name, reasons[each.name])
            self._house.note(f"pipeline {each.name} is held back: {reasons[each.name]}")
        self._again()

    def _newest(self, names: Collection[str]) -> str:
        """Return the pipeline that has the newest model."""
        slots = self.record.slots
        return max(names, key=lambda name: (name not in slots, slots[name].ts if name in slots else name))

    def _end_shadows(self, reasons: dict[str, str]) -> None:
        """Turn off shadows that have failed."""
        if not reasons or self.plan is None:
            return
        for pipeline, reason in reasons.items():
            log.error("pipeline %s: the daemon turned its shadow off: %s", pipeline, reason)
            self._house.note(f"pipeline {pipeline}: the daemon turned its shadow off: {reason}")
        self._ledger.keep(ending(self.record, reasons, self.plan))
        self._again()

    def _on_probation(self, record: ServingRecord, pipeline: PipelinePlan) -> bool:
        """Return whether the model of a pipeline replaces another model and may be tried."""
        slot = record.slots.get(pipeline.name)
        known = slot is not None and slot.committed.model.identity == pipeline.model.identity
        return not known and record.refusal(pipeline.model) is None and record.predecessor(pipeline) is not None

    def _superseded(self, record: ServingRecord, models: Iterable[ModelPlan], by: str) -> ServingRecord:
        """Return the record without the trials of models that are no longer requested."""
        wanted = {model.name: model.identity for model in models}
        for name, trial in record.trials.items():
            if wanted.get(name) != trial.which:
                line = Happened(timestamp(time.time()), name, "superseded", trial.sha, trial.title, by)
                trials = {key: each for key, each in record.trials.items() if key != name}
                record = replace(record, trials=trials).told(line)
        return record

    def _roll_back_restless(self) -> None:
        for name, trial in list(self.record.trials.items()):
            if trial.starts >= STARTS:
                reason = f"the daemon was started {STARTS} times, and never ended in order, while it was on probation"
                self._refuse(name, "rolled_back", reason, "daemon", run=False)

    def _first(self, report: EngineReport) -> None:
        """Record the model of a pipeline as soon as it runs, if it replaces no other model."""
        assert self.plan is not None
        record = self.record
        for pipeline in self.plan.pipelines:
            running, slot = report.running.get(pipeline.name), record.slots.get(pipeline.name)
            if running is None or running.sha != pipeline.model.identity or pipeline.model.name in record.trials:
                continue
            fit = Fit.of(pipeline)
            if slot is None or (_same(slot.committed, pipeline) and _tells_more(fit, slot.committed)):
                previous, since = (slot.previous, slot.ts) if slot else (None, timestamp(time.time()))
                fresh = Slot(fit, previous, since)
                record = replace(record, slots={**record.slots, pipeline.name: fresh})
                record = record.told(
                    *([] if slot else [self._line(pipeline.model, "first", "configuration", f"in {pipeline.name}")])
                )
                self._ledger.note_version(pipeline.model)
        if record is not self.record:  # not "!=", which ignores a signature that was checked meanwhile
            self._ledger.keep(record)

    def _judge(self, name: str, report: EngineReport) -> None:
        """Commit a model on probation, roll it back, or keep waiting."""
        waited = time.monotonic() - self._ordered - self._house.stalls.since(self._ordered)
        active = [each for each in self._of(name) if each.name not in self.inactive]
        if not active:
            return  # its probation continues when a pipeline runs it again
        verdict = judge(active, self.record.trials[name].which, report, waited)
        if verdict is None:
            return
        if verdict.what == "good":
            self._commit(name, verdict.why)
        elif verdict.what == "stuck":
            self._house.kill_engine(verdict.why)
        else:
            self._refuse(name, verdict.what, verdict.why, "daemon")

    def _commit(self, name: str, why: str) -> None:
        record, now = self.record, timestamp(time.time())
        slots = dict(record.slots)
        for pipeline in self._of(name):
            slot, model = slots.get(pipeline.name), pipeline.model
            if slot is None or not _same(slot.committed, pipeline):  # another pipeline may already have this model
                slots[pipeline.name] = Slot(Fit.of(pipeline), slot.committed if slot else None, now)
        trials = {key: each for key, each in record.trials.items() if key != name}
        record = replace(record, slots=slots, trials=trials).forgiving(model)
        self._ledger.keep(record.told(self._line(model, "committed", "daemon", why)))
        self._ledger.note_version(model)
        self.swaps[name, "committed"] += 1
        log.info("model %s: %s (%s) passed its probation and is committed", name, model.title, model.sha256[:8])
        self._house.over(f"model {name}")
        self._again()

    def _refuse(self, name: str, state: Refused, reason: str, by: str, *, run: bool = True) -> None:
        """Refuse the model that runs under a name, and restore its predecessor."""
        model, reason = self._running_as(name), shortened(reason)
        record = self._refusing(self.record, name, state, reason)
        self._ledger.keep(record.told(self._line(model, state, by, reason)))
        log.error("model %s: %s (%s) is %s: %s", name, model.title, model.sha256[:8], state.replace("_", " "), reason)
        if by == "daemon":
            self._house.note(f"model {name}: {state.replace('_', ' ')}: {reason}", f"model {name}")
        self.swaps[name, state] += 1
        if run:
            self._again()

    def _refusing(self, record: ServingRecord, name: str, state: Refused, reason: str) -> ServingRecord:
        """Return the record with a refusal of the model that runs under a name; its predecessors take its slots."""
        model, now = self._running_as(name), timestamp(time.time())
        refusal = Refusal(model.sha256, model.title, model.entry, state, shortened(reason), now, model.identity)
        record = record.refusing(name, refusal)
        slots = dict(record.slots)
        for pipeline, slot in record.slots.items():
            if slot.committed.model.identity == model.identity and slot.committed.model.name == name and slot.previous:
                slots[pipeline] = Slot(slot.previous, None, now)
        return replace(record, slots=slots)

    def _would_lose(self, name: str) -> list[str]:
        """Return a sentence for each pipeline that would have no model if the model of this name were refused."""
        assert self.wanted is not None
        before = without_model(self.wanted, self.record)
        after = without_model(self.wanted, self._refusing(self.record, name, "rolled_back", ""))
        return [f"pipeline {each}: {why}" for each, why in after.items() if each not in before]

    def _before(self, model: ModelPlan) -> Fit | None:
        """Return the predecessor of a committed model, unless it was refused."""
        found = (slot for slot in self.record.slots.values() if slot.committed.model.name == model.name)
        before = next((slot.previous for slot in found if slot.committed.model.identity == model.identity), None)
        return None if before is None or self.record.refusal(before.model) else before

    def _of(self, name: str) -> list[PipelinePlan]:
        return [each for each in (self.plan.pipelines if self.plan else ()) if each.model.name == name]

    def _running_as(self, name: str) -> ModelPlan:
        plans = [plan for plan in (self.plan, self.wanted) if plan is not None]
        found = next((model for plan in plans for model in plan.models() if model.name == name), None)
        if found is None:
            raise _unknown(name, self._names())
        return found

    def _names(self, *, shadows: bool = False) -> list[str]:
        """Return the names of the pipelines' models, current and next; with ``shadows`` also of their shadow models."""
        plans = [plan for plan in (self.plan, self.wanted) if plan is not None]
        more = [model for plan in plans for model in plan.shadows()] if shadows else []
        return sorted({model.name for model in (*more, *(each for plan in plans for each in plan.models()))})

    def _now(self, name: str) -> str:
        """Return as text which models the pipelines run that request a model of this name.

        A fallback may have another name.
        """
        pipelines = self._asking(name)
        models = {each.model.identity: each.model for each in pipelines if each.name not in self.held}.values()
        if not models and (held := next((self.held[each.name] for each in pipelines if each.name in self.held), None)):
            return f"{name}: no model serves: {held}"
        state = "on probation" if name in self.record.trials else "serving"
        lines = [f"{name}: {model.title} ({model.sha256[:8]}) is {state}" for model in models]
        return "; ".join((*lines, *self.why_no_model(pipelines)))

    def _asking(self, name: str) -> list[PipelinePlan]:
        """Return the running pipelines that request a model, even if they run another one, and those that run it."""
        assert self.plan is not None
        asked = {each.name for each in (self.wanted or self.plan).pipelines if each.model.name == name}
        return [each for each in self.plan.pipelines if each.name in asked or each.model.name == name]

    # Actions.

    def _again(self) -> None:
        """Apply the plan that follows from the current record."""
        if self.wanted is not None:
            plan = self._delegates.without(effective(self.wanted, self.record))
            self._report_gaps(self.wanted, plan)
            self._run(self._admission.admitted(plan))

    def _report_gaps(self, wanted: Plan, plan: Plan) -> None:
        """Report once what a fallback cannot do for its pipeline: run at all, or recognize a label."""
        gaps = {**unknown_labels(wanted, plan), **without_model(wanted, self.record)}
        for name, why in gaps.items():
            if self._gaps.get(name) != why:
                log.error("pipeline %s: %s", name, why)
                self._house.note(f"pipeline {name}: {why}", f"fallback of {name}")
        for name in self._gaps.keys() - gaps.keys():
            self._house.over(f"fallback of {name}")
        self._gaps = gaps

    def _run(self, plan: Plan) -> None:
        self.before, self.plan = self.plan, plan
        self._order += 1
        self._ordered = time.monotonic()
        trials = tuple(each.name for each in plan.pipelines if each.model.name in self.record.trials)
        self.held, self.inactive = self._held(plan), self.schedule.inactive(plan)
        self._house.engine_patience = silence([each for each in plan.pipelines if each.name in trials])
        alone, held = suffices(self.before, plan), tuple(self.held)
        self._house.apply(ApplyPlan(plan, self._order, trials, alone, held, tuple(self.inactive)))

    def resting(self) -> Mapping[str, str]:
        """Return the pipelines that do not run now, with the reasons: inactive, or without a permitted model."""
        return {**{name: f"held back: {why}" for name, why in self.held.items()}, **self.inactive}

    def _held(self, plan: Plan) -> dict[str, str]:
        """Return the pipelines that must not run, with the reasons: in quarantine, or only a refused model is left."""
        refused = {each.name: self.record.refusal(each.model) for each in plan.pipelines}
        lost = self._without_model()
        reasons = {
            name: shortened("; ".join(filter(None, (lost.get(name), refusal.reason))))
            for name, refusal in refused.items()
            if refusal is not None
        }
        return {**self._holds.held(plan), **reasons}

    def _line(self, model: ModelPlan, what: What, by: str, why: str = "") -> Happened:
        return Happened(timestamp(time.time()), model.name, what, model.sha256, model.title, by[:128], shortened(why))


def _unknown(name: str, known: Sequence[str]) -> EdgeInferError:
    from edge_infer.yamlfile.error_text import suggestion  # a module to compare words, not needed elsewhere

    return EdgeInferError(f"no pipeline has a model {name!r}; {suggestion(name, known)}")


def _difference(record: ServingRecord, model: ModelPlan) -> str:
    """Return as text how a model differs from a committed one with the same name and file; empty if there is none."""
    same = [
        fit.model
        for slot in record.slots.values()
        if (fit := slot.committed).model.name == model.name and fit.model.sha256 == model.sha256
    ]
    if not same:
        return ""
    parts = [
        "another manifest" if all(each.manifest != model.manifest for each in same) else "",
        "other labels" if all(each.labels != model.labels for each in same) else "",
    ]
    return f"the same file with {' and '.join(filter(None, parts))}" if any(parts) else ""


def _tells_more(fit: Fit, committed: Fit) -> bool:
    """Return whether a model differs from its record, or whether its signature has been checked since."""
    return fit != committed or (fit.model.signed not in {"", committed.model.signed})


def _same(fit: Fit, pipeline: PipelinePlan) -> bool:
    return fit.model.identity == pipeline.model.identity
