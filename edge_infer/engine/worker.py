"""The thread of a pipeline: takes the frames of a feed one by one. A failure in one frame does not end the thread."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import PipelineHealth, Reason, Result
from edge_infer.engine.cascade.parent import Cascade
from edge_infer.engine.drift.watch import DriftWatch
from edge_infer.engine.events.decision_record import Decisions
from edge_infer.engine.input.feed import TICK, Feed
from edge_infer.engine.input.next_frame import Intake
from edge_infer.engine.input.sample_stream import rows_of
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.model_slot import ModelSlot
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.output.result_sender import Outward
from edge_infer.engine.pipeline import FramePipeline
from edge_infer.engine.preprocess.image import ImagePreprocess
from edge_infer.errors import EdgeInferError, ModelError, told
from edge_infer.frames.frame import Captured
from edge_infer.ipc.drift import DriftReference
from edge_infer.ipc.messages import PipelineCounts, Running, ScoresAnswer
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.event_loop import Stalls

Light: TypeAlias = AbstractContextManager[None]

log = logging.getLogger(__name__)

FAILURE_PAUSE: Final = 1.0
"""Seconds to wait after a failed frame, so that a broken model does not use up the CPU."""
VERDICT: Final = 2.0
"""Seconds for which a slow model on probation waits for its replacement, because another frame would only delay it."""


class Worker:
    """Turns the frames of a feed into results and states, according to a plan and with the current model."""

    def __init__(
        self,
        plan: PipelinePlan,
        feed: Feed,
        outlet: Outward,
        light: Light | None = None,
        *,
        watched: bool = False,
        turns: Turns | None = None,
        pool: InterpreterPools | None = None,
        files: ModelFiles | None = None,
        stalls: Stalls | None = None,
        learned: DriftReference | None = None,
    ) -> None:
        """``watched``: the model is on probation. ``light`` is on during work that may crash the process.

        ``turns`` schedules all pipelines that share the cores, and ``pool`` holds their models; without these two the
        worker has its own cores and model. Models are made from the open ``files``, or else read from the disk.
        ``stalls`` are periods that do not count for the duration of a frame. ``learned`` is the drift reference.
        """
        self.feed = feed
        self._name = plan.name
        self._light = light or nullcontext()
        self._stalls = stalls or Stalls()
        self._outlet = outlet
        self._cursor = feed.attach()
        self._used: deque[tuple[int, int]] = deque()
        """Items that became results, each with the number of messages at that time, until these messages have been
        sent."""
        self._cut = 0
        """Number of rows and lines of the current item that have no outcome when the pipeline is stopped."""
        self._watch = PipelineWatch(time.monotonic())
        self._voice = PipelineOutput(plan.name, outlet)
        self.drift = DriftWatch(plan.name, feed.plan, learned)
        self._pipeline = FramePipeline(self._voice, self._watch, self.drift)
        self._stop = threading.Event()
        self._intake = Intake(feed, self._cursor, plan.name, turns or Turns(), self._stop)
        self._models = ModelSlot(plan, outlet, self._voice, watched=watched, turns=turns, pool=pool, files=files)
        self._thread = threading.Thread(target=self._run, name=f"pipeline-{plan.name}", daemon=True)

    @property
    def cascade(self) -> Cascade:
        """The link to the child pipelines, which run their models on this pipeline's findings."""
        return self._voice.cascade

    @property
    def plan(self) -> PipelinePlan:
        """The newest plan, which may not be in effect yet."""
        return self._models.plan

    def start(self) -> None:
        """Start the thread, which loads the model first."""
        self._say_nothing("starting")
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after the current frame."""
        self._stop.set()
        self._voice.mute()
        self.feed.detach(self._cursor)

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self._name

    def backlog(self) -> int:
        """Return the number of rows and lines that wait for this pipeline; 0 for pictures, which do not wait."""
        return self.feed.backlog(self._cursor) if self._models.serving.ready else 0

    def close(self, timeout: float = 2.0, reason: Reason = "stopped") -> None:
        """Wait up to ``timeout`` seconds for the end, and end open events with ``reason``; may be called twice."""
        self.stop()
        until = time.monotonic() + timeout
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("pipeline %s: thread did not stop in time; it may run until the engine ends", self._name)
            self._intake.close()  # a hung thread needs no more turns
        if not self.feed.stopping:  # a feed that stops leaves its items to the next engine
            left, self._cut = self._cut + self.feed.forget_waiting(self._cursor), 0
            if left:
                log.warning("pipeline %s ends; the engine drops %d rows or lines that waited for it", self._name, left)
        if (shadow := self._models.serving.shadow) is not None:
            shadow.close(max(0.0, until - time.monotonic()))
        self._voice.end(self._models.serving, reason)
        self._voice.tell(self.drift.end(reason), self._models.serving)

    def change(self, plan: PipelinePlan, *, watched: bool = False, alone: bool = False) -> None:
        """Request another plan for the same feed (see `ModelSlot.change`); it takes effect between two frames."""
        self._models.change(plan, watched=watched, alone=alone)

    def restrain(self, most: float | None) -> None:
        """Limit the pipeline to ``most`` frames per second from now on, with any model; None: as configured."""
        self._models.restrain(most)

    def health(self) -> PipelineHealth:
        """Return the entry of this pipeline in the health message."""
        self._watch.dropped = self._cursor.dropped
        self._watch.held_back = self._voice.held_back(self._models.serving)
        return self._watch.health(time.monotonic(), self._outlet.numbered(self._name))

    @property
    def decisions(self) -> Decisions:
        """The decisions of the last minutes, with reasons."""
        return self._models.serving.follow.decisions

    def newest(self, since: float) -> Result | None:
        """Return the findings of the newest frame; None if that frame is older than ``since`` (monotonic clock)."""
        return self._voice.newest(self._models.serving, since)

    def input_size(self) -> tuple[int, int] | None:
        """Return the width and height of the model's picture; None without a picture or a loaded model."""
        serving = self._models.serving
        preprocess = serving.model.preprocess if serving.ready else None
        return preprocess.size if isinstance(preprocess, ImagePreprocess) else None

    def scores(self) -> ScoresAnswer:
        """Return the histogram of scores of the last hour."""
        return self._voice.scores.answer(self._name, self.plan.floor)

    def counts(self) -> PipelineCounts:
        """Return the frames by outcome, and their latencies."""
        return self._watch.counts()

    def running(self) -> Running:
        """Return the identity of the model in service and its status."""
        trial = self._models.serving.trial
        since = trial.since if trial is not None else 0.0
        return self._models.running(self._seconds_since(since) if since else 0.0)

    def progress(self) -> tuple[int, float]:
        """Return the number of frames that became an outcome, and the seconds spent waiting for one."""
        return self._watch.frames, self._intake.waited

    def unsettled(self) -> bool:
        """Return whether the next report is urgent: a model is being loaded or on probation."""
        return self._models.unsettled()

    def loading(self) -> bool:
        """Return whether a model or a shadow is being loaded, which may block all threads."""
        return self._models.loading()

    def busy(self) -> float:
        """Return the seconds that the current frame has taken so far; 0 between frames."""
        since = (
            self._watch.busy_since
            or self._intake.busy_since
            or (self.feed.drawn_since if self._models.serving.quick else 0.0)
        )
        return self._seconds_since(since) if since else 0.0

    def stuck(self, least: float) -> bool:
        """Return whether the current frame has taken so long, at least ``least`` seconds, that the thread hangs."""
        return self.busy() > max(least, self._models.plan.model.longest_frame())

    def turn(self) -> None:
        """Run one iteration of the thread: replace the model if one is due, then process the next frame."""
        self._take_over()
        if self._models.serving.ready:
            self._serve(self._models.serving)
        else:
            self._stop.wait(TICK)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.turn()
        except Exception as error:  # noqa: BLE001 - the outermost handler of this thread: the other pipelines go on
            self._failed(error)
        finally:
            self._intake.close()
            self._models.close()
            self.feed.detach(self._cursor)

    def _take_over(self) -> None:
        """Put the next model into service if it is due.

        If no model is in service, detach from the feed, so that the feed does not wait for this pipeline.
        """
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
        """Process the next frame, if there is one, or report why nothing is known."""
        try:
            taken = self._intake.next(serving)
        except Exception as error:  # noqa: BLE001 - there may be memory for the next frame, if not for this one
            self._failed(error)
            self._pause()
            return
        whole = True
        reason = self.feed.blocked()
        if taken is not None and (reason is None or self._counts(reason)):
            if (unheard := self._cursor.unheard) is not None:
                self._cursor.unheard = None
                self._say_nothing(unheard)
            whole = self._use(serving, taken)
        elif reason:
            self._say_nothing(reason)
        else:
            self._voice.again(serving)
        if self.feed.keeps_all:
            self._settle(taken if whole else None)  # an item that was cut off goes to the next engine
        self._intake.used(serving)
        if self.feed.holds:
            self._outlet.await_room(self._name, self._stop)

    def _settle(self, taken: Captured | None) -> None:
        """Mark items as finished once their results are in the publisher's channel, which outlives this process."""
        if taken is not None:
            self._used.append((taken.number, self._outlet.given()))
        if self._used:
            written = self._outlet.written()
            while self._used and self._used[0][1] <= written:
                self._cursor.settled = max(self._cursor.settled, self._used.popleft()[0])

    def _counts(self, reason: Reason) -> bool:
        """Return whether a frame still counts although its source is blocked for ``reason``.

        The last frame of a source counts. A frame of a file, a reading of a sensor and a line also count: they only
        waited for the pipeline, and the source has become silent since then.
        """
        return reason == "source_ended" or (reason == "source_lost" and (self.feed.lossless or self.feed.keeps_all))

    def _use(self, serving: Serving, taken: Captured) -> bool:
        """Process the frames that an item completes. Samples that cannot be gathered count as a failed frame.

        Return False if the pipeline was stopped before the last frame; the remaining frames then have no outcome.
        """
        rows = rows_of(taken) if self.feed.keeps_all else 0
        done = cut = 0
        self._cut = rows  # an upper bound until the item is done: the thread may hang
        try:
            for frame in serving.model.frames(taken):
                if not cut and serving.pacer.due(time.monotonic()):
                    self._ask(serving, frame)
                if rows and self._stop.is_set():  # this one may have been muted
                    cut += 1
                else:
                    done += 1
        except Exception as error:  # noqa: BLE001 - the next stretch may work
            self._failed(error)
            self._pause()
        self._cut = -(-rows * cut // (done + cut)) if cut else 0
        return not cut

    def _ask(self, serving: Serving, frame: Captured) -> None:
        """Process a frame or, in a cascade, its crops, each independently of the others."""
        went_well = True
        for part in serving.follow.asks(frame):
            went_well = self._try(serving, part) and went_well
        if went_well:
            self._pipeline.settle(serving, frame)

    def _try(self, serving: Serving, frame: Captured) -> bool:
        """Process one part of a frame; return whether it became an outcome."""
        try:
            begun = self._step(serving, frame)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws, the next frame may work
            self._failed(error)
            self._pause()
            return False
        self._done(serving, frame, begun)
        return True

    def _step(self, serving: Serving, frame: Captured) -> float:
        """Process one part and return the time at which it began, on the monotonic clock."""
        self._watch.dropped = self._cursor.dropped
        begun = self._watch.busy_since = time.monotonic()
        try:
            self._intake.begin(serving)
            with self._light:
                self._pipeline.step(serving, frame)
            if serving.prepares and serving.gate.open:
                self._intake.done(self._seconds_since(begun))
            return begun
        finally:
            self._watch.busy_since = 0.0

    def _seconds_since(self, moment: float) -> float:
        return max(0.0, time.monotonic() - moment - self._stalls.since(moment))

    def _done(self, serving: Serving, frame: Captured, begun: float) -> None:
        now, trial = time.monotonic(), serving.trial
        self._watch.error = ""
        self._watch.done(now, (now - frame.monotonic) * 1000.0)
        self._models.answered(now)
        if trial is not None:
            trial.done(max(0.0, trial.seconds - self._stalls.since(begun)))
            if trial.fault:
                self._pause(VERDICT)

    def _pause(self, seconds: float = FAILURE_PAUSE) -> None:
        """Pause after a fault, so that a broken model does not use up the CPU; end early if another model is due."""
        self._intake.pause()
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0 and not self._stop.is_set() and not self._models.due():
            self._stop.wait(min(rest, TICK / 4))
        self._intake.pass_over()

    def _failed(self, error: Exception) -> None:
        """Record a fault; log it unless it is a repetition.

        The state becomes null, because nothing is known of the scene.
        """
        text = told(error)
        if text != self._watch.error:
            log.error(
                "pipeline %s: %s", self._name, text, exc_info=None if isinstance(error, EdgeInferError) else error
            )
        traceback.clear_frames(error.__traceback__)  # a tensor that is still held would make the next invoke fail
        self._watch.error = text
        self._watch.faults += 1
        self._watch.failed += 1
        serving = self._models.serving
        if serving.trial is not None:
            with self._light:  # the model may run
                serving.trial.failed(error, serving.model)
        self._say_nothing("engine_failed")

    def _say_nothing(self, reason: Reason) -> None:
        self._voice.nothing(self._models.serving, reason)


# A pipeline that does not run, so that its state is unknown: its model crashed the engine, or its schedule makes it
# inactive now.

WHY: Final = "it is held back; edge-infer status shows why"


class Held:
    """Stand-in for a pipeline that does not run. It loads no model; the caller has to call `say` regularly."""

    def __init__(self, plan: PipelinePlan, outlet: Outward, *, inactive: bool = False) -> None:
        self.plan = plan
        self._inactive = inactive
        self._outlet = outlet
        self._voice = PipelineOutput(plan.name, outlet)
        self._serving = Serving(plan, outlet.boot, lambda: outlet.new_object(plan.name))
        self._watch = PipelineWatch(time.monotonic())

    @property
    def cascade(self) -> Cascade:
        """The link to the child pipelines, which are informed that no findings will come."""
        return self._voice.cascade

    def say(self) -> None:
        """Publish a null state, first at once and then every minute."""
        self._voice.nothing(self._serving, "inactive" if self._inactive else "engine_failed")

    def health(self) -> PipelineHealth:
        """Return the entry of this pipeline in the health message."""
        health = self._watch.health(time.monotonic(), self._outlet.numbered(self.plan.name))
        return health if self._inactive else replace(health, error=WHY)
