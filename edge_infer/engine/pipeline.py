"""Processing of one frame, from source to outcome.

capture -> gate -> preprocess -> infer -> decode -> postprocess -> follow -> outcome -> publish
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial

from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.drift.watch import DriftWatch
from edge_infer.engine.model.loaded_model import LoadedModel, Look, Staged
from edge_infer.engine.model.probation import Trial
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.tasks import Findings
from edge_infer.frames.frame import Captured


class FramePipeline:
    """Processes frames that a `Worker` takes from a feed, or that a replay takes from a recording."""

    def __init__(self, voice: PipelineOutput, watch: PipelineWatch, drift: DriftWatch | None = None) -> None:
        self._voice = voice
        self._watch = watch
        self._drift = drift

    def step(self, serving: Serving, frame: Captured) -> Findings:
        """Process one captured frame and return its findings; raises any error of a plug-in.

        The model runs on the whole frame or on tiles. Without motion it does not run, and the last findings stay valid
        (see `Gate`).
        """
        chosen = self._choose(serving, frame)
        visible, findings = self._find(serving, frame, chosen) if chosen else self._standing(serving, frame)
        return self.finish(serving, frame, visible, findings, still=not chosen)

    def finish(
        self, serving: Serving, frame: Captured, visible: Captured, findings: Findings, *, still: bool
    ) -> Findings:
        """Track the findings of a frame and publish what is due; return the findings with tracking data."""
        findings = self._voice.follow(serving, findings, frame)
        outcome = serving.compose(findings, frame, time.monotonic(), still=still)
        seq = self._voice.publish(serving, outcome, frame)
        self._voice.cascade.saw(visible, findings, seq)
        if self._drift is not None and (serving.plan.drift is not None or self._drift.watches):
            self._compare(self._drift, serving, frame, visible, findings, still=still)
        return findings

    def settle(self, serving: Serving, frame: Captured) -> Answers | None:
        """Finish a frame after all its parts; in a cascade, return its current answers."""
        return self._voice.settle(serving, frame)

    def _choose(self, serving: Serving, frame: Captured) -> tuple[int, ...]:
        """Return the parts of the frame on which the model has to run. For a model on probation these are all parts."""
        parts = serving.model.parts(frame)
        chosen = serving.gate.choose(parts, serving.follow, anyway=serving.trial is not None)
        if serving.gate.plan is not None:
            self._watch.looked(len(chosen), len(parts))
        return chosen

    def _find(self, serving: Serving, frame: Captured, chosen: tuple[int, ...]) -> tuple[Captured, Findings]:
        """Return the masked frame, and the findings from the chosen parts."""
        model, gate, trial = serving.model, serving.gate, serving.trial
        visible, parts = serving.prepared(frame)
        with model.lent:  # lease the interpreter, which other pipelines may share
            if trial is not None:
                trial.begin()
            looks = [self._look(model, trial, parts[part]) for part in chosen]
        candidates, transform = model.join(gate.joined(chosen, looks, frame.moment))
        if candidates.nonfinite:
            self._watch.faults += candidates.nonfinite
        findings = gate.stand(model.postprocess(candidates, transform, frame.monotonic))
        if trial is not None:
            trial.found(findings)
            trial.settle(model)
        if (shadow := serving.shadow) is not None and len(chosen) == len(parts):
            shadow.offer(visible, findings, self._watch.busy_since, self._watch.dropped)
        return visible, findings

    def _compare(
        self,
        drift: DriftWatch,
        serving: Serving,
        frame: Captured,
        visible: Captured,
        findings: Findings,
        *,
        still: bool,
    ) -> None:
        """Compare the scene with the learned one, and send what has drifted as events."""
        shown = partial(serving.mask, frame) if still else lambda: visible
        self._voice.tell(drift.see(serving.plan, frame, shown, findings, still=still), serving)

    def _standing(self, serving: Serving, frame: Captured) -> tuple[Captured, Findings]:
        """Return the same two values as `_find`, for a frame without motion. Only a cascade needs the masked frame."""
        assert serving.gate.standing is not None
        serving.pass_over(frame)
        return serving.mask(frame) if self._voice.cascade.feeds else frame, serving.gate.standing

    def _look(self, model: LoadedModel, trial: Trial | None, part: Captured | Staged) -> Look:
        """Run the model on a picture, a window of samples or a line."""
        transform = model.feed(part)  # preprocess, unless it was done while the previous frame was in the model
        if trial is not None:
            trial.given(model.interpreter, model.filled)
        with trial.run() if trial is not None else nullcontext():
            tensors = model.interpreter.invoke()  # infer; the output views are released on return, before the next run
            if trial is not None:
                trial.told(model.interpreter, tensors)
            candidates = model.decode(tensors)
        return candidates, transform
