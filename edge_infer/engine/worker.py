"""The thread of a pipeline: takes the frames of a feed, one after the other, whatever happens to one of them."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.decisions import Decisions
from edge_infer.engine.cascade.cascade import Cascade
from edge_infer.engine.feed import TICK, Feed
from edge_infer.engine.frame import Captured
from edge_infer.engine.handed_files import HandedFiles
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.intake import Intake
from edge_infer.engine.outlet import Outward
from edge_infer.engine.pipeline import Pipeline
from edge_infer.engine.pool import Pool
from edge_infer.engine.serving import Serving
from edge_infer.engine.succession import Succession
from edge_infer.engine.turns import Turns
from edge_infer.engine.voice import Voice
from edge_infer.errors import EdgeInferError, ModelError, told
from edge_infer.messages import PipelineHealth, Reason
from edge_infer.rooms import Running

Light: TypeAlias = AbstractContextManager[None]

log = logging.getLogger(__name__)

FAILURE_PAUSE: Final = 1.0
"""Seconds to wait after a frame that could not be processed, so that a broken model does not eat the board."""
VERDICT: Final = 2.0
"""Seconds that a model that is too slow waits for another in its place: its next frame would only hold that up."""


class Worker:
    """Turns the frames of a feed into results and states, as a plan wants it and whichever model serves."""

    def __init__(
        self,
        plan: PipelinePlan,
        feed: Feed,
        outlet: Outward,
        light: Light | None = None,
        *,
        watched: bool = False,
        turns: Turns | None = None,
        pool: Pool | None = None,
        files: HandedFiles | None = None,
    ) -> None:
        """``watched``: the model is on probation. ``light`` is on while it is at something that may be its end.

        ``turns`` are those of all pipelines that share the cores, ``pool`` has their models; without them it has cores
        and model for itself. ``files`` are those that models are made from; without them these are read from the disk.
        """
        self.feed = feed
        self._name = plan.name
        self._light = light or nullcontext()
        self._outlet = outlet
        self._cursor = feed.attach()
        self._watch = PipelineWatch(time.monotonic())
        self._voice = Voice(plan.name, outlet)
        self._pipeline = Pipeline(self._voice, self._watch)
        self._stop = threading.Event()
        self._intake = Intake(feed, self._cursor, plan.name, turns or Turns(), self._stop)
        self._models = Succession(plan, outlet, self._voice, watched=watched, turns=turns, pool=pool, files=files)
        self._thread = threading.Thread(target=self._run, name=f"pipeline-{plan.name}", daemon=True)

    @property
    def cascade(self) -> Cascade:
        """Who looks closer at what is found here."""
        return self._voice.cascade

    @property
    def plan(self) -> PipelinePlan:
        """The newest plan, which may not hold yet."""
        return self._models.plan

    def start(self) -> None:
        """Loads the model and begins, in a thread of its own."""
        self._say_nothing("starting")
        self._thread.start()

    def stop(self) -> None:
        """Begins to end, after the frame that is under way."""
        self._stop.set()
        self._voice.hush()
        self.feed.detach(self._cursor)

    def close(self, timeout: float = 2.0, reason: Reason = "stopped") -> None:
        """Waits up to ``timeout`` seconds for the end, and ends what is open for the reason; may be called twice."""
        self.stop()
        until = time.monotonic() + timeout
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("pipeline %s: its thread did not stop", self._name)
            self._intake.close()  # what hangs in there wants no more turns
        if (shadow := self._models.serving.shadow) is not None:
            shadow.close(max(0.0, until - time.monotonic()))
        self._voice.end(self._models.serving, reason)

    def change(self, plan: PipelinePlan, *, watched: bool = False, alone: bool = False) -> None:
        """Another plan for the same feed, see `Succession.change`; it holds between two frames."""
        self._models.change(plan, watched=watched, alone=alone)

    def restrain(self, most: float | None) -> None:
        """At most so many frames a second from now on, whichever model serves; None: as configured."""
        self._models.restrain(most)

    def health(self) -> PipelineHealth:
        """What the health message says of this pipeline."""
        self._watch.dropped = self._cursor.dropped
        self._watch.held_back = self._voice.held_back(self._models.serving)
        return self._watch.health(time.monotonic(), self._outlet.numbered(self._name))

    @property
    def decisions(self) -> Decisions:
        """What was decided in the last minutes, and why."""
        return self._models.serving.follow.decisions

    def running(self) -> Running:
        """What runs here, and how it does."""
        return self._models.running(self.busy())

    def progress(self) -> tuple[int, float]:
        """How many frames became an outcome, and the seconds without one to work on."""
        return self._watch.frames, self._intake.waited

    def unsettled(self) -> bool:
        """Whether the next report is awaited: something is being loaded or on trial."""
        return self._models.unsettled()

    def loading(self) -> bool:
        """Whether a model or a shadow is being loaded, for which all threads may have to wait."""
        return self._models.loading()

    def busy(self) -> float:
        """Seconds that the frame under way has taken so far; 0 between frames."""
        since = (
            self._watch.busy_since
            or self._intake.busy_since
            or (self.feed.drawn_since if self._models.serving.quick else 0.0)
        )
        return time.monotonic() - since if since else 0.0

    def turn(self) -> None:
        """What the thread does again and again: another model if one is due, then the next frame."""
        self._take_over()
        if self._models.serving.ready:
            self._serve(self._models.serving)
        else:
            self._stop.wait(TICK)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.turn()
        except Exception as error:  # noqa: BLE001 - the outermost loop of this thread: the other pipelines go on
            self._failed(error)
        finally:
            self._intake.close()
            self._models.close()
            self.feed.detach(self._cursor)

    def _take_over(self) -> None:
        """Another model, if one is due; where none serves, the feed waits for nobody."""
        if not self._models.due():
            return
        self._intake.pause()
        with self._light:
            switch = self._models.take_over()
        if switch is None:
            return
        if switch.alone:
            self._intake.pass_over()
        if not switch.error:
            self._models.serving.stay()
            self._watch.error = ""
            self._intake.serve(self._models.serving)
            self.feed.attach_again(self._cursor)
            self.feed.draw(self._cursor, alone=self._models.serving.quick)
        elif not self._models.serving.ready:
            self._failed(ModelError(switch.error))
            self.feed.detach(self._cursor)

    def _serve(self, serving: Serving) -> None:
        """One round: the next frame, if there is one, or the reason why nothing can be said."""
        try:
            taken = self._intake.next(serving)
        except Exception as error:  # noqa: BLE001 - there may be memory for the next frame, if not for this one
            self._failed(error)
            self._pause()
            return
        reason = self.feed.blocked()
        if taken is not None and (reason is None or self._counts(reason)):
            if (unheard := self._cursor.unheard) is not None:
                self._cursor.unheard = None
                self._say_nothing(unheard)
            self._use(serving, taken)
        elif reason:
            self._say_nothing(reason)
        else:
            self._voice.again(serving)
        self._intake.used(serving)

    def _counts(self, reason: Reason) -> bool:
        """Whether a frame counts all the same: the last one of a source, and one that only waited for us.

        That is one of a file, and every reading of a sensor and every line: the source has fallen silent since.
        """
        return reason == "source_ended" or (reason == "source_lost" and (self.feed.lossless or self.feed.keeps_all))

    def _use(self, serving: Serving, taken: Captured) -> None:
        """Whatever goes into the model now; samples that cannot be gathered are a fault like one of the model."""
        try:
            for frame in serving.model.frames(taken):
                if serving.pacer.due(time.monotonic()):
                    self._ask(serving, frame)
        except Exception as error:  # noqa: BLE001 - the next stretch may be a better one
            self._failed(error)
            self._pause()

    def _ask(self, serving: Serving, frame: Captured) -> None:
        """A frame, or in a cascade its crops, each whatever becomes of the others."""
        went_well = [self._try(serving, part) for part in serving.follow.asks(frame)]
        if all(went_well):
            self._pipeline.settle(serving, frame)

    def _try(self, serving: Serving, frame: Captured) -> bool:
        """Whether it became an outcome."""
        try:
            seconds = self._step(serving, frame)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws, the next frame may be a better one
            self._failed(error)
            self._pause()
            return False
        self._done(serving, frame, seconds)
        return True

    def _step(self, serving: Serving, frame: Captured) -> float:
        """Seconds that a frame took to become an outcome."""
        self._watch.dropped = self._cursor.dropped
        begun = self._watch.busy_since = time.monotonic()
        try:
            self._intake.begin(serving)
            with self._light:
                self._pipeline.step(serving, frame)
            seconds = time.monotonic() - begun
            if serving.gate.open:
                self._intake.done(seconds)
            return seconds
        finally:
            self._watch.busy_since = 0.0

    def _done(self, serving: Serving, frame: Captured, seconds: float) -> None:
        now, trial = time.monotonic(), serving.trial
        self._watch.error = ""
        self._watch.done(now, (now - frame.monotonic) * 1000.0)
        self._models.answered(now)
        if trial is not None:
            trial.done(seconds)
            if trial.fault:
                self._pause(VERDICT)

    def _pause(self, seconds: float = FAILURE_PAUSE) -> None:
        """After a fault, so that a broken model does not eat the board; the next model does not wait for its end."""
        self._intake.pause()
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0 and not self._stop.is_set() and not self._models.due():
            self._stop.wait(min(rest, TICK / 4))
        self._intake.pass_over()

    def _failed(self, error: Exception) -> None:
        """Says what went wrong, each thing once; what was said of the scene no longer holds."""
        text = told(error)
        if text != self._watch.error:
            log.error(
                "pipeline %s: %s", self._name, text, exc_info=None if isinstance(error, EdgeInferError) else error
            )
        traceback.clear_frames(error.__traceback__)  # a tensor that is held there would make the next invoke fail
        self._watch.error = text
        self._watch.faults += 1
        if (trial := self._models.serving.trial) is not None:
            trial.failed(text)
        self._say_nothing("engine_failed")

    def _say_nothing(self, reason: Reason) -> None:
        self._voice.nothing(self._models.serving, reason)
