"""A loaded model of a pipeline, with all objects that depend on its plan."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.messages import Reason
from edge_infer.engine.cascade.child import Inquiry
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.loaded_model import LoadedModel, Staged
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.probation import Trial
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.model.shadow import ShadowModel
from edge_infer.engine.motion.gate import Gate
from edge_infer.engine.output.outcome import Composer
from edge_infer.engine.output.publish_policy import PublishPolicy
from edge_infer.engine.threads import stay_on
from edge_infer.errors import shortened
from edge_infer.frames.frame import Captured
from edge_infer.frames.pixels import Mask
from edge_infer.frames.timing import Pacer
from edge_infer.ipc.messages import Delegated
from edge_infer.plan.records import PipelinePlan

SHORT: Final = 0.0003
"""Seconds per run below which passing a frame to another thread costs more than it saves."""


@dataclass(frozen=True, slots=True, eq=False)  # two frames with the same content are still different
class _Prepared:
    """A captured frame, the same frame with its masked areas black, and the inputs prepared from it."""

    frame: Captured
    visible: Captured
    parts: tuple[Staged, ...]


class Serving:
    """A loaded model of a pipeline.

    One thread may call `load` and another use the model; `close` may be called twice.
    """

    def __init__(
        self,
        plan: PipelinePlan,
        boot: str,
        new_object: Callable[[], int],
        *,
        watched: bool = False,
        turns: Turns | None = None,
        pool: InterpreterPools | None = None,
        files: ModelFiles | None = None,
    ) -> None:
        """Set up, but do not load yet. ``new_object`` returns ids for tracked objects.

        With a ``pool`` other pipelines may share the model. ``turns`` schedules work on the shared cores. The model is
        made from the open ``files``, or else read from the disk.
        """
        self.plan = plan
        self._turns, self._files = turns, files
        self.model = LoadedModel(plan, pool, files)
        self.gate = Gate(plan)
        self.mask = Mask(plan.mask)
        self.follow = Inquiry(plan, new_object) if plan.crops else Follow(plan, new_object)
        self.compose = Composer(plan, boot)
        self.publication = PublishPolicy(plan)
        self.pacer = Pacer(plan.fps)
        self.ready = False
        self.quick = False
        """Whether a run is so short that one thread does everything if the source may drop nothing."""
        self.prepares = False
        """Whether to prepare the next frame while a frame is in the model."""
        self._prepared: deque[_Prepared] = deque(maxlen=2)  # the next frame and the one after it
        self.since = 0.0
        """Time at which the model went into service, on the monotonic clock."""
        self.trial: Trial | None = None
        self.watch(watched=watched)
        self.shadow: ShadowModel | None = None
        self._comparing = threading.Lock()  # guards what the main thread may change during the setup
        self._stack = ExitStack()

    def load(self) -> None:
        """Load the model and run it once; raises `ModelError`, and any error of a plug-in."""
        self.stay()
        self._stack.enter_context(self.model)
        self.quick = self.plan.ahead == "never" or (self.plan.ahead == "auto" and self.model.seconds < SHORT)
        pictures = self.model.taken.takes == "image" and self.plan.crops is None
        self.prepares = pictures and not self.quick and self._cores_enough()
        self.ready = True

    def stay(self) -> None:
        """Move the calling thread to the CPUs configured for this pipeline."""
        stay_on(self.plan.affinity)

    def prepare(self, frame: Captured) -> None:
        """Mask and preprocess a frame early, while another frame is in the model."""
        visible = self.mask(frame)
        self._prepared.append(_Prepared(frame, visible, self.model.stage(visible)))

    def prepared(self, frame: Captured) -> tuple[Captured, Sequence[Captured | Staged]]:
        """Return the masked frame and its parts for the model, both prepared earlier if possible."""
        if (found := self.pass_over(frame)) is not None:
            return found.visible, found.parts
        visible = self.mask(frame)
        return visible, self.model.parts(visible)

    def pass_over(self, frame: Captured) -> _Prepared | None:
        """Drop the prepared frames up to this one. Return the preparation of this frame; None if it is not prepared."""
        found = None
        while self._prepared and self._prepared[0].frame.number <= frame.number:
            each = self._prepared.popleft()  # the other thread adds at most one frame, at the end
            found = each if each.frame is frame else found
        return found

    def take(self, before: Serving) -> None:
        """Replace another model in service. Take over its half-filled window if both gather samples in the same way."""
        self.since = time.monotonic()
        if before.ready:
            self.model.inherit(before.model)

    def delegated(self) -> Delegated | None:
        """Return the status of the delegate; None without a delegate, or while no model is loaded."""
        if self.plan.delegate is None or not self.ready:
            return None
        interpreter = self.model.interpreter
        return Delegated(round(interpreter.delegated, 4), shortened(interpreter.failure))

    def compared(self, plan: PipelinePlan) -> None:
        """Start the shadow model of this plan, or stop the current one if the plan has none.

        The plan must not differ in anything else.
        """
        with self._comparing:
            self.plan, before = plan, self.shadow
            self.shadow = (
                ShadowModel(plan, self._turns, self._files) if plan.shadow is not None and self.ready else None
            )
            if self.shadow is not None:
                self.shadow.start()
        if before is not None:
            before.close()

    def ends(self, before: Serving) -> Reason | None:
        """Return the reason why events and tracked objects of the previous model end; None if they continue."""
        old, new = before.plan, self.plan
        if old.model.identity != new.model.identity:
            return "model_changed"
        same = (old.track, old.zones, old.lines, old.events, old.threshold, old.labels, old.mask, old.model) == (
            new.track, new.zones, new.lines, new.events, new.threshold, new.labels, new.mask, new.model,
        )  # fmt: skip
        return None if same and old.crops == new.crops else "config_changed"

    def watch(self, *, watched: bool) -> None:
        """Put the model on probation, or end its probation."""
        if not watched:
            self.trial = None
        elif self.trial is None:
            self.trial = Trial(self.plan.model)

    def _cores_enough(self) -> bool:
        return self.plan.ahead == "always" or len(os.sched_getaffinity(0)) > 1

    def close(self) -> None:
        """Release the model and its memory."""
        with self._comparing:
            was, self.ready = self.ready, False
            if self.shadow is not None:
                self.shadow.close()
        self._stack.close()
        self._prepared.clear()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # exists in glibc only
        if was and trim is not None:
            trim(0)  # otherwise the engine is about 10 MB larger after a hundred replacements
