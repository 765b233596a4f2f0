"""One source, one model, one outcome a frame: the flow, readable at a glance.

capture -> preprocess -> infer -> decode -> postprocess -> outcome -> publish
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from typing import Final

from edge_infer.boot import uptime
from edge_infer.codec import ABSENT
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.feed import TICK, Feed
from edge_infer.engine.frame import Captured
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.mask import Mask
from edge_infer.engine.model import LoadedModel, Look
from edge_infer.engine.outcome import Composer, Outcome
from edge_infer.engine.outlet import Outlet
from edge_infer.engine.publication import Publication
from edge_infer.errors import EdgeInferError
from edge_infer.messages import ModelStatus, PipelineHealth, Reason
from edge_infer.readers.pacer import Pacer

log = logging.getLogger(__name__)

FAILURE_PAUSE: Final = 1.0
"""Seconds to wait after a frame that could not be processed, so that a broken model does not eat the board."""


class Pipeline:
    """A worker thread that turns the frames of a feed into results and states."""

    def __init__(self, plan: PipelinePlan, feed: Feed, outlet: Outlet) -> None:
        self.plan = plan
        self.feed = feed
        self._outlet = outlet
        self._cursor = feed.attach()
        self._mask = Mask(plan.mask)
        self._compose = Composer(plan, outlet.boot)
        self._publication = Publication(plan)
        self._watch = PipelineWatch(time.monotonic())
        self._nothing: Reason | None = None
        self._serving = False
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

    def close(self, timeout: float = 2.0) -> None:
        """Waits up to ``timeout`` seconds for the end; may be called twice."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("pipeline %s: its thread did not stop", self.plan.name)

    def step(self, model: LoadedModel, frame: Captured) -> None:
        """What happens to one captured frame, looked at whole or in tiles."""
        visible = self._mask(frame)
        looks = [self._look(model, part) for part in model.parts(visible)]
        candidates, transform = model.join(looks)
        findings = model.postprocess(candidates, transform, frame.monotonic)
        outcome = self._compose(findings, frame, time.monotonic())
        self._publish(outcome)

    def _look(self, model: LoadedModel, part: Captured) -> Look:
        """What the model sees in a picture, a window of samples or a line."""
        transform = model.feed(part)  # preprocess
        tensors = model.interpreter.invoke()  # infer; they must be gone before the next run, and are on return
        candidates = model.decode(tensors)
        return candidates, transform

    def health(self) -> PipelineHealth:
        """What the health message says of this pipeline."""
        self._watch.dropped = self._cursor.dropped
        return self._watch.health(time.monotonic(), self._outlet.numbered(self.plan.name))

    def model_status(self) -> ModelStatus:
        """What serves under the name of this pipeline's model."""
        model = self.plan.model
        if self._serving:
            return ModelStatus("active", model.version, model.sha256[:8])
        reason = self._watch.error[:500] or ABSENT
        return ModelStatus("rejected" if self._watch.error else "staging", None, None, reason, ABSENT, model.sha256[:8])

    def busy(self) -> float:
        """Seconds that the frame under way has taken so far; 0 between frames."""
        since = self._watch.busy_since
        return time.monotonic() - since if since else 0.0

    def _run(self) -> None:
        try:
            with LoadedModel(self.plan) as model:
                self._serving = True
                log.info("pipeline %s: %s serves on %s", self.plan.name, self.plan.model.title, self.plan.source)
                self._serve(model)
        except Exception as error:  # noqa: BLE001 - the outermost loop of this thread: the other pipelines go on
            self._failed(error)
        finally:
            self._serving = False
            self.feed.detach(self._cursor)

    def _serve(self, model: LoadedModel) -> None:
        pacer = Pacer(self.plan.fps)
        while not self._stop.is_set():
            taken = None
            if (rest := pacer.left(time.monotonic())) and self.feed.rest(self._cursor):
                self._stop.wait(min(rest, TICK))
            else:
                taken = self.feed.next(self._cursor, TICK)
            reason = self.feed.blocked()
            if taken is not None and reason in (None, "source_ended"):  # the last frame of a source counts too
                self._use(model, taken, pacer)
            elif reason:
                self._say_nothing(reason)

    def _use(self, model: LoadedModel, taken: Captured, pacer: Pacer) -> None:
        """Whatever goes into the model now; samples that cannot be gathered are a fault like one of the model."""
        try:
            for frame in model.frames(taken):
                if pacer.due(time.monotonic()):
                    self._try(model, frame)
        except Exception as error:  # noqa: BLE001 - the next stretch may be a better one
            self._failed(error)
            self._stop.wait(FAILURE_PAUSE)

    def _try(self, model: LoadedModel, frame: Captured) -> None:
        self._watch.busy_since = time.monotonic()
        try:
            self.step(model, frame)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws, the next frame may be a better one
            self._failed(error)
            self._stop.wait(FAILURE_PAUSE)
        else:
            self._watch.error = ""
            self._watch.done(time.monotonic(), (time.monotonic() - frame.monotonic) * 1000.0)
        finally:
            self._watch.busy_since = 0.0

    def _failed(self, error: Exception) -> None:
        """Says what went wrong, each thing once; what was said of the scene no longer holds."""
        own = isinstance(error, EdgeInferError)
        text = str(error) if own else f"unexpected {type(error).__name__}: {error}"
        if text != self._watch.error:
            log.error("pipeline %s: %s", self.plan.name, text, exc_info=None if own else error)
        traceback.clear_frames(error.__traceback__)  # a tensor that is held there would make the next invoke fail
        self._watch.error = text
        self._say_nothing("engine_failed")

    def _publish(self, outcome: Outcome) -> None:
        if self._stop.is_set():
            return  # a slow frame of a pipeline that is gone or was replaced
        now = time.monotonic()
        self._nothing = None
        if self._publication.state_due(outcome.essence, now):
            self._outlet.state(self.plan.name, outcome.state(), outcome.at)
        if self._publication.result_due(outcome.essence, now):
            self._outlet.hand_over(self.plan.name, outcome.result, outcome.at)

    def _say_nothing(self, reason: Reason) -> None:
        """The state is null, said once for a reason and again every minute."""
        if self._stop.is_set():
            return
        if reason != self._nothing:
            self._publication.reset()
        self._nothing = reason
        if self._publication.state_due(reason, time.monotonic()):
            self._outlet.state(self.plan.name, self._compose.nothing(reason), uptime())
