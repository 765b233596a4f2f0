"""The current model of a pipeline, and its replacement by the next one."""

from __future__ import annotations

import logging
import threading
import time

from edge_infer.contract.codec import replace
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.model_load import ModelLoad
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.model.shadow import same_but_shadow
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.output.result_sender import Outward
from edge_infer.errors import shortened
from edge_infer.ipc.messages import Running
from edge_infer.plan.records import PipelinePlan

log = logging.getLogger(__name__)


class ModelSlot:
    """The main thread requests another model (`change`); the worker takes it between two frames (`take_over`)."""

    def __init__(
        self,
        plan: PipelinePlan,
        outlet: Outward,
        voice: PipelineOutput,
        *,
        watched: bool = False,
        turns: Turns | None = None,
        pool: InterpreterPools | None = None,
        files: ModelFiles | None = None,
    ) -> None:
        """Set up without loading a model; the worker loads it. ``watched``: the first model is on probation."""
        self.plan = plan
        self._turns, self._pool, self._files = turns, pool, files
        self._outlet = outlet
        self._voice = voice
        self._most: float | None = None
        self.serving = self._made(plan, watched=watched)
        self._handing = threading.Lock()  # guards the main thread's request against the worker's replacement
        self._switch: ModelLoad | None = ModelLoad(self.serving, alone=True)
        self._refused = self._switched = Running(None)
        self._outcome_at = 0.0
        self._alone = False  # the worker is loading a model itself

    def change(self, plan: PipelinePlan, *, watched: bool = False, alone: bool = False) -> None:
        """Request another plan. ``watched``: its model is on probation.

        The next model is loaded beside the current one or, if ``alone``, after the current one is closed.
        """
        with self._handing:
            self.plan = plan
            self._refused = Running(None)  # a model that is tried again has not been refused yet
            if self._switch is not None:
                self._switch.give_up()
                self._switch = None
            if self.serving.ready and same_but_shadow(plan, self.serving.plan):
                self.serving.compared(plan)
            if plan == self.serving.plan and self.serving.ready:
                self.serving.watch(watched=watched)
            else:
                alone = alone or not self.serving.ready
                self._switch = ModelLoad(self._made(plan, watched=watched), alone=alone)

    def restrain(self, most: float | None) -> None:
        """Limit the current and the next model to ``most`` frames per second; None: as configured.

        Only the main thread creates models, so the worker cannot put a model without this limit into service.
        """
        self._most = most
        switch = self._switch
        for serving in (self.serving, *([switch.serving] if switch is not None else [])):
            serving.pacer.restrain(most)

    def due(self) -> bool:
        """Return whether `take_over` has to be called."""
        switch = self._switch
        return switch is not None and switch.done()

    def take_over(self) -> ModelLoad | None:
        """Replace the current model by the next one if the next one is loaded.

        Return the finished replacement; None if no replacement has finished.

        If the replacement has an error, its model was refused and the current one stays in service.
        """
        with self._handing:  # held throughout: a concurrent `change` would compare with the old model
            switch = self._switch
            if switch is None or not switch.done():
                return None
            self._switch, self._alone = None, switch.alone
            if not switch.alone:
                self._settle(switch)
                return switch
            if switch.serving is not self.serving:
                self._voice.nothing(self.serving, "model_changed")
            self.serving.close()
        switch.load()
        with self._handing:
            self._alone = False
            self._settle(switch)
        return switch

    def answered(self, now: float) -> None:
        """Record that a frame became an outcome. The first outcome of a model ends the gap of the replacement."""
        if self._outcome_at < self.serving.since:
            self._switched = replace(self._switched, gap=now - self._outcome_at if self._outcome_at else 0.0)
        self._outcome_at = now

    def running(self, busy: float) -> Running:
        """Return the identity of the model in service and its status.

        ``busy``: seconds that the current run of a model on probation has taken.
        """
        serving, refused = self.serving, self._refused
        trial, sha = serving.trial, serving.plan.model.identity if serving.ready else None
        return replace(
            self._switched,
            sha=sha,
            seconds=time.monotonic() - serving.since if sha else 0.0,
            frames=trial.frames if trial else 0,
            fault=trial.fault if trial else "",
            refused=refused.refused,
            why=refused.why,
            busy=busy,
            shadow=serving.shadow.status() if serving.shadow is not None else None,
            delegate=serving.delegated(),
        )

    def unsettled(self) -> bool:
        """Return whether a model is being loaded or on probation."""
        return self.loading() or self.serving.trial is not None

    def loading(self) -> bool:
        """Return whether a model or a shadow is being loaded."""
        shadow = self.serving.shadow
        return self._alone or self._switch is not None or (shadow is not None and shadow.loading)

    def close(self) -> None:
        """Close the models; called by the worker at its end."""
        with self._handing:
            if self._switch is not None:
                self._switch.give_up()
        self.serving.close()

    def _made(self, plan: PipelinePlan, *, watched: bool) -> Serving:
        made = Serving(
            plan,
            self._outlet.boot,
            lambda: self._outlet.new_object(plan.name),
            watched=watched,
            turns=self._turns,
            pool=self._pool,
            files=self._files,
        )
        made.pacer.restrain(self._most)
        return made

    def _settle(self, switch: ModelLoad) -> None:
        """Put a loaded model into service, or record why it was refused."""
        if switch.error:
            self._refuse(switch)
        else:
            self._take(switch, self.serving)

    def _refuse(self, switch: ModelLoad) -> None:
        self._refused = Running(None, refused=switch.serving.plan.model.identity, why=shortened(switch.error))
        if self.serving.ready:
            log.error(
                "pipeline %s: %s; it still runs model %s", self.plan.name, switch.error, self.serving.plan.model.title
            )

    def _take(self, switch: ModelLoad, before: Serving) -> None:
        """Put the new model into service; it processes the next frame."""
        fresh = self.serving = switch.serving
        changed = self._voice.go_on(before, fresh) if fresh is not before else None
        fresh.take(before)
        if fresh is not before:
            before.close()
        self._refused = Running(None)
        self._switched = Running(None, load=switch.seconds, pause=switch.pause)
        fresh.compared(fresh.plan)
        model = fresh.plan.model
        log.info(
            "pipeline %s: model %s (%s) runs on source %s with %d threads; loading took %.0f ms and blocked other "
            "threads for up to %.0f ms",
            self.plan.name, model.title, model.sha256[:8], self.plan.source, fresh.plan.threads, switch.seconds * 1000,
            switch.pause * 1000,
        )  # fmt: skip
        if fresh is not before and model.identity != before.plan.model.identity:
            self._voice.nothing(fresh, "model_changed")
        elif changed:  # until the next frame, which may come late, nothing is known under the new settings
            self._voice.nothing(fresh, "starting")
