"""One source, one model, one outcome a frame: the flow, readable at a glance.

capture -> gate -> preprocess -> infer -> decode -> postprocess -> follow -> outcome -> publish
"""

from __future__ import annotations

import time

from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.frame import Captured
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.model import Look, Staged
from edge_infer.engine.serving import Serving
from edge_infer.engine.tasks import Findings
from edge_infer.engine.voice import Voice


class Pipeline:
    """What happens to a frame, whoever brings it: a `Worker` from a feed, or a replay from a recording."""

    def __init__(self, voice: Voice, watch: PipelineWatch) -> None:
        self._voice = voice
        self._watch = watch

    def step(self, serving: Serving, frame: Captured) -> Findings:
        """One captured frame, and what it became; raises whatever a plug-in throws.

        It is looked at whole, or in tiles; where nothing moves it is not, and what was found last stands (see `Gate`).
        """
        chosen = self._choose(serving, frame)
        visible, findings = self._find(serving, frame, chosen) if chosen else self._standing(serving, frame)
        findings = self._voice.follow(serving, findings, frame)
        outcome = serving.compose(findings, frame, time.monotonic(), still=not chosen)
        seq = self._voice.publish(serving, outcome, frame)
        self._voice.cascade.saw(visible, findings, seq)
        return findings

    def settle(self, serving: Serving, frame: Captured) -> Answers | None:
        """All that was asked of a frame has gone its way; in a cascade, what is known now."""
        return self._voice.settle(serving, frame)

    def _choose(self, serving: Serving, frame: Captured) -> tuple[int, ...]:
        """Which parts of the frame are worth a look; a model on trial gets all of them."""
        parts = serving.model.parts(frame)
        chosen = serving.gate.choose(parts, serving.follow, anyway=serving.trial is not None)
        if serving.gate.plan is not None:
            self._watch.looked(len(chosen), len(parts))
        return chosen

    def _find(self, serving: Serving, frame: Captured, chosen: tuple[int, ...]) -> tuple[Captured, Findings]:
        """What may be seen of a frame, and what is in it by a look at the chosen parts."""
        model, gate = serving.model, serving.gate
        visible, parts = serving.prepared(frame)
        with model.lent:  # its interpreter, which other pipelines may have, too
            looks = [self._look(serving, parts[part]) for part in chosen]
        candidates, transform = model.join(gate.joined(chosen, looks, frame.instant.moment))
        self._watch.faults += candidates.nonfinite
        findings = gate.stand(model.postprocess(candidates, transform, frame.monotonic))
        if (shadow := serving.shadow) is not None and len(chosen) == len(parts):
            shadow.offer(visible, findings, self._watch.busy_since, self._watch.dropped)
        return visible, findings

    def _standing(self, serving: Serving, frame: Captured) -> tuple[Captured, Findings]:
        """The same of a frame in which nothing moves; only a cascade wants to see it."""
        assert serving.gate.standing is not None
        serving.pass_over(frame)
        return serving.mask(frame) if self._voice.cascade.feeds else frame, serving.gate.standing

    def _look(self, serving: Serving, part: Captured | Staged) -> Look:
        """What the model sees in a picture, a window of samples or a line."""
        model, trial = serving.model, serving.trial
        transform = model.feed(part)  # preprocess, unless there was time for it while the frame before was looked at
        if trial is not None:
            trial.given(model.interpreter)
        tensors = model.interpreter.invoke()  # infer; they must be gone before the next run, and are on return
        if trial is not None:
            trial.told(model.interpreter, tensors)
        candidates = model.decode(tensors)
        return candidates, transform
