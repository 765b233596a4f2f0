"""One source, one model, one outcome a frame: the flow, readable at a glance.

capture -> preprocess -> infer -> decode -> postprocess -> follow -> outcome -> publish
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from dataclasses import replace
from typing import Final

from edge_infer.boot import uptime
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.decisions import Decision
from edge_infer.engine.analyse.events import Happening
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.feed import TICK, Feed
from edge_infer.engine.frame import Captured
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.model import Look
from edge_infer.engine.outcome import Outcome
from edge_infer.engine.outlet import Outward
from edge_infer.engine.serving import Serving
from edge_infer.engine.shadow import same_but_shadow
from edge_infer.engine.switch import Switch
from edge_infer.engine.tasks import Findings
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.messages import PipelineHealth, Reason
from edge_infer.rooms import Running

log = logging.getLogger(__name__)

FAILURE_PAUSE: Final = 1.0
"""Seconds to wait after a frame that could not be processed, so that a broken model does not eat the board."""
VERDICT: Final = 2.0
"""Seconds that a model that is too slow waits for another in its place: its next frame would only hold that up."""


class Pipeline:
    """A worker thread that turns the frames of a feed into results and states."""

    def __init__(self, plan: PipelinePlan, feed: Feed, outlet: Outward, *, watched: bool = False) -> None:
        self.plan = plan
        self.feed = feed
        self._outlet = outlet
        self._cursor = feed.attach()
        self._watch = PipelineWatch(time.monotonic())
        self._nothing: Reason | None = None
        self._serving = self._made(plan, watched=watched)
        self._following = threading.Lock()  # what is open is ended by the main thread
        self._held_back = 0
        self._ahead = 0.0  # how far the monotonic clock is ahead of the one that the frames go by
        self._handing = threading.Lock()  # over `plan` and `_switch`, which the main thread sets and the worker takes
        self._switch: Switch | None = Switch(self._serving, alone=True)
        self._refused = self._switched = Running(None)
        self._outcome_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pipeline-{plan.name}", daemon=True)

    def start(self) -> None:
        """Loads the model and begins, in a thread of its own."""
        self._say_nothing("starting")
        self._thread.start()

    def stop(self) -> None:
        """Begins to end, after the frame that is under way."""
        self._stop.set()
        self.feed.detach(self._cursor)

    def close(self, timeout: float = 2.0, reason: Reason = "stopped") -> None:
        """Waits up to ``timeout`` seconds for the end, and ends what is open for the reason; may be called twice."""
        self.stop()
        until = time.monotonic() + timeout
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("pipeline %s: its thread did not stop", self.plan.name)
        if (shadow := self._serving.shadow) is not None:
            shadow.close(max(0.0, until - time.monotonic()))
        self._end_all(reason)

    def change(self, plan: PipelinePlan, *, watched: bool = False, alone: bool = False) -> None:
        """Another plan for the same feed, ``watched`` if its model is on probation; it holds between two frames.

        The next model is loaded beside the one that serves, or ``alone``, after that is gone.
        """
        with self._handing:
            self.plan = plan
            self._refused = Running(None)  # what is tried once more has not been refused yet
            if self._switch is not None:
                self._switch.give_up()
                self._switch = None
            if self._serving.ready and same_but_shadow(plan, self._serving.plan):
                self._serving.compared(plan)
            if plan == self._serving.plan and self._serving.ready:
                self._serving.watch(watched=watched)
            else:
                alone = alone or not self._serving.ready
                self._switch = Switch(self._made(plan, watched=watched), alone=alone)

    def _made(self, plan: PipelinePlan, *, watched: bool) -> Serving:
        return Serving(plan, self._outlet.boot, lambda: self._outlet.new_object(plan.name), watched=watched)

    def step(self, serving: Serving, frame: Captured) -> Findings:
        """What happens to one captured frame, looked at whole or in tiles, and what it became."""
        model = serving.model
        visible = serving.mask(frame)
        looks = [self._look(serving, part) for part in model.parts(visible)]
        candidates, transform = model.join(looks)
        self._watch.faults += candidates.nonfinite
        findings = model.postprocess(candidates, transform, frame.monotonic)
        if (shadow := serving.shadow) is not None:
            shadow.offer(visible, findings, self._watch.busy_since, self._cursor.dropped)
        findings = self._follow(serving, findings, frame)
        outcome = serving.compose(findings, frame, time.monotonic())
        self._publish(serving, outcome, frame)
        return findings

    def _look(self, serving: Serving, part: Captured) -> Look:
        """What the model sees in a picture, a window of samples or a line."""
        model, trial = serving.model, serving.trial
        transform = model.feed(part)  # preprocess
        if trial is not None:
            trial.given(model.interpreter)
        tensors = model.interpreter.invoke()  # infer; they must be gone before the next run, and are on return
        if trial is not None:
            trial.told(model.interpreter, tensors)
        candidates = model.decode(tensors)
        return candidates, transform

    def health(self) -> PipelineHealth:
        """What the health message says of this pipeline."""
        self._watch.dropped = self._cursor.dropped
        self._watch.held_back = self._held_back + self._serving.follow.held_back
        return self._watch.health(time.monotonic(), self._outlet.numbered(self.plan.name))

    def decisions(self, since: float, label: str | None) -> list[Decision]:
        """What was decided since a time in seconds since the epoch, about a label or all."""
        return self._serving.follow.decisions.since(since, label)

    def running(self) -> Running:
        """What runs here, and how it does."""
        serving, refused = self._serving, self._refused
        trial, sha = serving.trial, serving.plan.model.sha256 if serving.ready else None
        return replace(
            self._switched,
            sha=sha,
            seconds=time.monotonic() - serving.since if sha else 0.0,
            frames=trial.frames if trial else 0,
            fault=trial.fault if trial else "",
            refused=refused.refused,
            why=refused.why,
            busy=self.busy(),
            shadow=serving.shadow.status() if serving.shadow is not None else None,
        )

    def unsettled(self) -> bool:
        """Whether the next report is awaited: something is being loaded or on trial."""
        return self._switch is not None or self._serving.trial is not None

    def busy(self) -> float:
        """Seconds that the frame under way has taken so far; 0 between frames."""
        since = self._watch.busy_since
        return time.monotonic() - since if since else 0.0

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._take_over()
                if self._serving.ready:
                    self._serve(self._serving)
                else:
                    self._stop.wait(TICK)
        except Exception as error:  # noqa: BLE001 - the outermost loop of this thread: the other pipelines go on
            self._failed(error)
        finally:
            with self._handing:
                if self._switch is not None:
                    self._switch.give_up()
            self._serving.close()
            self.feed.detach(self._cursor)

    def _take_over(self) -> None:
        """Puts the next model in the place of the one that served, once it is there."""
        with self._handing:
            switch = self._switch
            if switch is None or not switch.done():
                return
            self._switch = None
        before = self._serving
        if switch.alone and switch.serving is not before:
            self._say_nothing("model_changed")
        if switch.alone:
            before.close()
            switch.load()
        if switch.error:
            self._refuse(switch)
        else:
            self._take(switch, before)

    def _refuse(self, switch: Switch) -> None:
        """What cannot be loaded is told; what served goes on, and where nothing did the feed waits for nobody."""
        sha = switch.serving.plan.model.sha256
        self._refused = Running(None, refused=sha, why=switch.error[:500])
        if self._serving.ready:
            log.error("pipeline %s: %s; %s goes on", self.plan.name, switch.error, self._serving.plan.model.title)
        else:
            self._failed(ModelError(switch.error))
            self.feed.detach(self._cursor)

    def _take(self, switch: Switch, before: Serving) -> None:
        """From here on the next frame is for the new model."""
        fresh = self._serving = switch.serving
        if fresh is not before:
            self._go_on(before, fresh)
        fresh.take(before)
        if fresh is not before:
            before.close()
        self._refused, self._watch.error = Running(None), ""
        self._switched = Running(None, load=switch.seconds, pause=switch.pause)
        with self._handing:  # the main thread may just be giving it another shadow
            fresh.compared(fresh.plan)
        self.feed.attach_again(self._cursor)
        model = fresh.plan.model
        log.info(
            "pipeline %s: %s (%s) serves on %s; loaded in %.0f ms, during which other threads waited %.0f ms at most",
            self.plan.name, model.title, model.sha256[:8], self.plan.source, switch.seconds * 1000, switch.pause * 1000,
        )  # fmt: skip
        if fresh is not before and model != before.plan.model:
            self._say_nothing("model_changed")

    def _go_on(self, before: Serving, fresh: Serving) -> None:
        """Whom we follow is followed on, unless the change concerns that: then everything open ends."""
        reason = fresh.ends(before)
        with self._following:
            if reason is None:
                fresh.follow = before.follow
            else:
                self._held_back += before.follow.held_back
                self._hand_over(before.follow.end(reason, self._now()))

    def _serve(self, serving: Serving) -> None:
        """One turn: the next frame, if there is one, or the reason why nothing can be said."""
        taken = None
        if (rest := serving.pacer.left(time.monotonic())) and self.feed.rest(self._cursor):
            self._stop.wait(min(rest, TICK))
            self.feed.rest(self._cursor)  # what came meanwhile is passed over, so that the frame it takes is fresh
        else:
            taken = self.feed.next(self._cursor, TICK)
        reason = self.feed.blocked()
        if taken is not None and reason in (None, "source_ended"):  # the last frame of a source counts too
            self._use(serving, taken)
        elif reason:
            self._say_nothing(reason)

    def _use(self, serving: Serving, taken: Captured) -> None:
        """Whatever goes into the model now; samples that cannot be gathered are a fault like one of the model."""
        try:
            for frame in serving.model.frames(taken):
                if serving.pacer.due(time.monotonic()):
                    self._try(serving, frame)
        except Exception as error:  # noqa: BLE001 - the next stretch may be a better one
            self._failed(error)
            self._pause()

    def _try(self, serving: Serving, frame: Captured) -> None:
        begun = self._watch.busy_since = time.monotonic()
        try:
            self.step(serving, frame)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws, the next frame may be a better one
            self._failed(error)
            self._watch.busy_since = 0.0
            self._pause()
        else:
            self._watch.busy_since = 0.0
            self._done(serving, frame, time.monotonic() - begun)
        finally:
            self._watch.busy_since = 0.0

    def _done(self, serving: Serving, frame: Captured, seconds: float) -> None:
        """A frame has become an outcome, in ``seconds``."""
        now, trial = time.monotonic(), serving.trial
        self._watch.error = ""
        self._watch.done(now, (now - frame.monotonic) * 1000.0)
        if self._outcome_at < serving.since:
            self._switched = replace(self._switched, gap=now - self._outcome_at if self._outcome_at else 0.0)
        self._outcome_at = now
        if trial is not None:
            trial.done(seconds)
            if trial.fault:
                self._pause(VERDICT)

    def _pause(self, seconds: float = FAILURE_PAUSE) -> None:
        """After a fault, so that a broken model does not eat the board; the next model does not wait for its end."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0 and not self._stop.is_set():
            switch = self._switch
            if switch is not None and switch.done():
                return
            self._stop.wait(min(rest, TICK / 4))

    def _failed(self, error: Exception) -> None:
        """Says what went wrong, each thing once; what was said of the scene no longer holds."""
        own = isinstance(error, EdgeInferError)
        text = str(error) if own else f"unexpected {type(error).__name__}: {error}"
        if text != self._watch.error:
            log.error("pipeline %s: %s", self.plan.name, text, exc_info=None if own else error)
        traceback.clear_frames(error.__traceback__)  # a tensor that is held there would make the next invoke fail
        self._watch.error = text
        self._watch.faults += 1
        if (trial := self._serving.trial) is not None:
            trial.failed(text)
        self._say_nothing("engine_failed")

    def _follow(self, serving: Serving, findings: Findings, frame: Captured) -> Findings:
        """What the findings are with those before in mind; what is news of it is an event, told at once."""
        with self._following:
            if self._stop.is_set():
                return findings
            self._ahead = frame.monotonic - frame.instant.moment
            followed, news = serving.follow(findings, frame.instant)
            self._hand_over(news)
            return followed

    def _now(self) -> Instant:
        """This moment by the clock that the frames go by."""
        return Instant(time.monotonic() - self._ahead, time.time())

    def _end_all(self, reason: Reason) -> None:
        with self._following:
            self._hand_over(self._serving.follow.end(reason, self._now()))

    def _hand_over(self, news: tuple[Happening, ...]) -> None:
        for happening in news:
            captured = uptime(happening.when.moment + self._ahead)
            self._outlet.happened(self.plan.name, happening.numbered(self._outlet.boot), captured)

    def _publish(self, serving: Serving, outcome: Outcome, frame: Captured) -> None:
        if self._stop.is_set():
            return  # a slow frame of a pipeline that is gone or was replaced
        now = frame.instant.moment
        self._nothing = None
        if serving.publication.state_due(outcome.essence, now):
            self._outlet.state(self.plan.name, outcome.state(), outcome.at)
        if serving.publication.result_due(outcome.essence, now):
            self._outlet.hand_over(self.plan.name, outcome.result, outcome.at)

    def _say_nothing(self, reason: Reason) -> None:
        """The state is null, said once for a reason and again every minute."""
        if self._stop.is_set():
            return
        publication = self._serving.publication
        if reason != self._nothing:
            publication.reset()
            self._end_all(reason)
        self._nothing = reason
        if publication.state_due(reason, time.monotonic()):
            self._outlet.state(self.plan.name, self._serving.compose.nothing(reason), uptime())
