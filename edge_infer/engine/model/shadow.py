"""Shadow model: a second model that runs on a share of a pipeline's frames and is compared with the first.

The pipeline never waits for the shadow.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import ShadowStatus
from edge_infer.engine.input.feed import TICK
from edge_infer.engine.model.agreement import Agreements, compare
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.run_scheduler import Turn, Turns
from edge_infer.engine.tasks import Findings
from edge_infer.engine.threads import give_up_priority, stay_on
from edge_infer.errors import ModelError, told
from edge_infer.frames.frame import Captured
from edge_infer.plan.records import PipelinePlan

log = logging.getLogger(__name__)

LESS: Final = 4
"""While the pipeline drops frames, the shadow gets only one in this many of the frames of its share."""
FAILURES: Final = 5
"""Number of consecutive failed frames after which the shadow ends."""
HUNG: Final = 2.0
"""Seconds above its limit after which a frame counts as hung."""
CREDIT: Final = 1.0
"""Maximum unused time, in seconds, that the shadow may save for later."""
RECENT: Final = 256
"""Number of frames over which the ratio of the two latencies is computed."""


@dataclass(frozen=True, slots=True)
class _ComparedFrame:
    """A frame, the pipeline's findings in it, and the seconds that the pipeline took."""

    frame: Captured
    findings: Findings
    seconds: float


class ShadowSampler:
    """Selects the frames of a shadow: a share of all frames, within the same share of the time; fewer under load."""

    def __init__(self, share: float, now: float) -> None:
        self.skipped = 0
        self._share = share
        self._due = self._saved = 0.0
        self._spent: deque[float] = deque()
        self._turn = 0
        self._filled = now

    def take(self, now: float, *, behind: bool, busy: bool) -> bool:
        """Return whether the shadow gets this frame.

        If a frame of its share exceeds a limit, the frame counts as ``skipped``.
        """
        while self._spent:
            self._saved -= self._spent.popleft()
        self._saved = min(CREDIT, self._saved + self._share * (now - self._filled))
        self._filled = now
        self._due += self._share
        if self._due < 1.0:
            return False
        self._due -= 1.0
        self._turn = (self._turn + 1) % LESS
        allowed = not busy and self._saved >= 0.0 and not (behind and self._turn)
        self.skipped += not allowed
        return allowed

    def spend(self, seconds: float) -> None:
        """Record that a frame took ``seconds``; called by a thread other than the thread of `take`."""
        self._spent.append(seconds)


class ShadowModel:
    """Loads and runs its model in a separate thread after `start`. A fault ends the shadow and nothing else.

    When pipelines take turns on the cores, the shadow gets only turns for which no pipeline waits, and skips a frame if
    it gets no turn. If a frame of a pipeline arrives during such a turn, the pipeline may have to wait until the turn
    ends.
    """

    def __init__(self, plan: PipelinePlan, turns: Turns | None = None, files: ModelFiles | None = None) -> None:
        """``turns`` schedules all pipelines that share the cores; ``files`` are the open files of the model."""
        assert plan.shadow is not None
        self.plan = plan
        self._turns, self._files = turns or Turns(), files
        self._turn: Turn | None = None  # while the frame is in the model
        self._missed = 0  # frames that got no turn
        self._reason = ""
        self._errors = self._in_a_row = 0
        self._busy_since = 0.0
        self._ready = False
        self._agreements = Agreements()
        self._times: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._allowance = ShadowSampler(plan.shadow.share, time.monotonic())
        self._dropped = 0
        self._work: queue.SimpleQueue[_ComparedFrame | None] = (
            queue.SimpleQueue()
        )  # at most one frame: none is added while the shadow is busy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shadow-{plan.name}", daemon=True)

    def start(self) -> None:
        """Start to load the model."""
        self._thread.start()

    def offer(self, frame: Captured, findings: Findings, begun: float, dropped: int) -> None:
        """Offer a frame with the pipeline's findings; called by the pipeline's thread, returns at once.

        ``begun`` is when the pipeline began the frame; ``dropped`` counts the frames that the pipeline has missed so
        far.
        """
        now = time.monotonic()
        behind, self._dropped = dropped > self._dropped, dropped
        if not self._ready or self._reason:
            return
        if self._allowance.take(now, behind=behind, busy=bool(self._busy_since)):
            self._busy_since = now
            self._work.put(_ComparedFrame(frame, findings, now - begun))

    def status(self) -> ShadowStatus:
        """Return the status of the shadow and its agreement with the pipeline; called by the main thread."""
        self._look_for_hang()
        shadow, sums, times = self.plan.shadow, self._agreements, list(self._times)
        assert shadow is not None
        ours, theirs = map(float, np.median(times, axis=0)) if times else (0.0, 0.0)
        same, matched, difference = sums.same, sums.matched, sums.difference
        return ShadowStatus(
            shadow.model.name,
            shadow.model.sha256[:8],
            "off" if self._reason else "running" if self._ready else "starting",
            sums.frames,
            self._allowance.skipped + self._missed,
            self._errors,
            None if same is None else round(same, 4),
            ABSENT if matched is None else round(matched, 4),
            ABSENT if difference is None else round(difference, 4),
            round(theirs / ours, 2) if ours else ABSENT,
            self._reason[:400] or ABSENT,
        )

    @property
    def loading(self) -> bool:
        """Whether its model is not loaded yet."""
        return not (self._ready or self._reason or self._stop.is_set())

    def close(self, timeout: float = 0.0) -> None:
        """End after the current frame. Wait up to ``timeout`` seconds for that; may be called twice."""
        self._stop.set()
        self._work.put(None)
        if timeout and self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            stay_on(self.plan.affinity)
            with LoadedModel(self.plan.of_shadow(), files=self._files) as model:
                self._ready = True
                self._serve(model)
        except Exception as error:  # noqa: BLE001 - the outermost handler of this thread: the pipeline continues
            self._end(told(error))

    def _serve(self, model: LoadedModel) -> None:
        turn = self._turn = self._turns.join(spare=True)
        self._turns.want(turn, 0, self.plan.threads)
        try:
            while not self._stop.is_set() and not self._reason:
                if (work := self._next()) is None:
                    continue
                if self._turns.scarce and not self._turns.take(turn, TICK):
                    self._missed, self._busy_since = self._missed + 1, 0.0
                    continue
                self._try(model, work)
                self._turns.end(turn)
        finally:
            self._turns.leave(turn)

    def _next(self) -> _ComparedFrame | None:
        try:
            return self._work.get(timeout=TICK)
        except queue.Empty:
            return None

    def _try(self, model: LoadedModel, work: _ComparedFrame) -> None:
        begun = self._busy_since = time.monotonic()
        try:
            findings = _sound(model, work.frame)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws, the next frame may work
            traceback.clear_frames(error.__traceback__)  # a tensor that is still held would make the next invoke fail
            self._failed(told(error))
        else:
            self._in_a_row = 0
            assert self.plan.shadow is not None
            self._agreements.add(compare(work.findings, findings, (self.plan.threshold, self.plan.shadow.threshold)))
            self._times.append((work.seconds, time.monotonic() - begun))
        finally:
            self._allowance.spend(time.monotonic() - begun)
            self._busy_since = 0.0

    def _failed(self, text: str) -> None:
        self._errors += 1
        self._in_a_row += 1
        if self._in_a_row >= FAILURES:
            self._end(text)

    def _look_for_hang(self) -> None:
        """Detect a hang.

        If a frame hangs, end the shadow and lower the priority of its thread, which cannot be ended from outside.
        """
        since, shadow = self._busy_since, self.plan.shadow
        assert shadow is not None
        limit = shadow.model.patience() + HUNG
        if since and not self._reason and time.monotonic() - since > limit:
            self._errors += 1
            self._end(f"a frame was not finished within {limit:.3g} s")
            if self._turn is not None:
                self._turns.leave(self._turn)  # a hung thread needs no more turns
            give_up_priority(self._thread)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason or "it ended"
        log.error("pipeline %s: the engine turned its shadow %s off: %s", self.plan.name, self.title, self._reason)

    @property
    def title(self) -> str:
        """Title of its model."""
        assert self.plan.shadow is not None
        return self.plan.shadow.model.title


def _sound(model: LoadedModel, frame: Captured) -> Findings:
    """Return the model's findings in a frame; raises `ModelError` if any of its output is not finite.

    A decoder drops non-finite values. Without this check a broken model would find nothing and so agree with the
    pipeline on an empty scene.
    """
    candidates, transform = model.look(frame)
    if candidates.nonfinite:
        raise ModelError("its output for a frame has values that are not finite")
    return model.postprocess(candidates, transform, frame.monotonic)


def same_but_shadow(one: PipelinePlan, other: PipelinePlan) -> bool:
    """Return whether two plans differ only in their shadows."""
    return one != other and replace(one, shadow=None) == replace(other, shadow=None)
