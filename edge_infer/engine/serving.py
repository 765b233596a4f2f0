"""One model at work on a pipeline: loaded, with all that follows from the plan it was made from."""

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

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.affinity import stay_on
from edge_infer.engine.analyse.follow import Follow
from edge_infer.engine.cascade.inquiry import Inquiry
from edge_infer.engine.frame import Captured
from edge_infer.engine.gate import Gate
from edge_infer.engine.handed_files import HandedFiles
from edge_infer.engine.mask import Mask
from edge_infer.engine.model import LoadedModel, Staged
from edge_infer.engine.outcome import Composer
from edge_infer.engine.pool import Pool
from edge_infer.engine.publication import Publication
from edge_infer.engine.shadow import Shadow
from edge_infer.engine.trial import Trial
from edge_infer.engine.turns import Turns
from edge_infer.errors import shortened
from edge_infer.messages import Reason
from edge_infer.readers.pacer import Pacer
from edge_infer.rooms import Delegated

SHORT: Final = 0.0003
"""Seconds of a run below which handing a frame from one thread to another costs more than it saves."""


@dataclass(frozen=True, slots=True, eq=False)  # frames of the same content are still two
class _Prepared:
    """A frame as it was taken, what may be seen of it, and that as it goes into the model."""

    frame: Captured
    visible: Captured
    parts: tuple[Staged, ...]


class Serving:
    """Made cheaply; `load` may be called in another thread than the one that uses it later, `close` twice."""

    def __init__(
        self,
        plan: PipelinePlan,
        boot: str,
        new_object: Callable[[], int],
        *,
        watched: bool = False,
        turns: Turns | None = None,
        pool: Pool | None = None,
        files: HandedFiles | None = None,
    ) -> None:
        """``new_object`` gives ids for objects that are followed; from the ``pool`` others may have the same model.

        In ``turns`` is what runs beside it, and in ``files`` what the model is made from, where it is not on the disk.
        """
        self.plan = plan
        self._turns, self._files = turns, files
        self.model = LoadedModel(plan, pool, files)
        self.gate = Gate(plan)
        self.mask = Mask(plan.mask)
        self.follow = Inquiry(plan, new_object) if plan.crops else Follow(plan, new_object)
        self.compose = Composer(plan, boot)
        self.publication = Publication(plan)
        self.pacer = Pacer(plan.fps)
        self.ready = False
        self.quick = False
        """Whether a run takes so little that one thread does all, where nothing may be dropped."""
        self.prepares = False
        """Whether the next frame is to be prepared while one is in the model."""
        self._prepared: deque[_Prepared] = deque(maxlen=2)  # the frame that comes now, and the one after it
        self.since = 0.0
        """When it was taken into service, on the monotonic clock."""
        self.trial: Trial | None = None
        self.watch(watched=watched)
        self.shadow: Shadow | None = None
        self._comparing = threading.Lock()  # the main thread may change what the pipeline's thread begins with
        self._stack = ExitStack()

    def load(self) -> None:
        """Loads and warms the model; raises `ModelError`, and whatever a plug-in throws."""
        self.stay()
        self._stack.enter_context(self.model)
        self.quick = self.plan.ahead == "never" or (self.plan.ahead == "auto" and self.model.seconds < SHORT)
        pictures = self.model.taken.takes == "image" and self.plan.crops is None
        self.prepares = pictures and not self.quick and self._cores_enough()
        self.ready = True

    def stay(self) -> None:
        """The calling thread works for this one from now on, on the CPUs that are for it."""
        stay_on(self.plan.affinity)

    def prepare(self, frame: Captured) -> None:
        """Masks and preprocesses a frame before its turn, while another one is in the model."""
        visible = self.mask(frame)
        self._prepared.append(_Prepared(frame, visible, self.model.stage(visible)))

    def prepared(self, frame: Captured) -> tuple[Captured, Sequence[Captured | Staged]]:
        """What may be seen of a frame, and the parts of that for the model, made ready before or not."""
        if (found := self.pass_over(frame)) is not None:
            return found.visible, found.parts
        visible = self.mask(frame)
        return visible, self.model.parts(visible)

    def pass_over(self, frame: Captured) -> _Prepared | None:
        """Lets go of what was prepared of this frame and of those before it, which nobody comes back to: gives this."""
        found = None
        while self._prepared and self._prepared[0].frame.number <= frame.number:
            each = self._prepared.popleft()  # the other thread adds one at the end at most, and none before this frame
            found = each if each.frame is frame else found
        return found

    def take(self, before: Serving) -> None:
        """Begins to serve in the place of another, whose half-gathered window it takes where both gather alike."""
        self.since = time.monotonic()
        if before.ready:
            self.model.inherit(before.model)

    def delegated(self) -> Delegated | None:
        """What a delegate does for it; None without one, and while nothing is loaded."""
        if self.plan.delegate is None or not self.ready:
            return None
        interpreter = self.model.interpreter
        return Delegated(round(interpreter.delegated, 4), shortened(interpreter.failure))

    def compared(self, plan: PipelinePlan) -> None:
        """From now on beside the shadow of this plan, which is otherwise the same, or beside none."""
        with self._comparing:
            self.plan, before = plan, self.shadow
            self.shadow = Shadow(plan, self._turns, self._files) if plan.shadow is not None and self.ready else None
            if self.shadow is not None:
                self.shadow.start()
        if before is not None:
            before.close()

    def ends(self, before: Serving) -> Reason | None:
        """Why what was open before cannot go on here; None when it can."""
        old, new = before.plan, self.plan
        if old.model.identity != new.model.identity:
            return "model_changed"
        same = (old.track, old.zones, old.lines, old.events, old.threshold, old.labels, old.mask, old.model) == (
            new.track, new.zones, new.lines, new.events, new.threshold, new.labels, new.mask, new.model,
        )  # fmt: skip
        return None if same and old.crops == new.crops else "config_changed"

    def watch(self, *, watched: bool) -> None:
        """Puts it on trial, or ends that."""
        if not watched:
            self.trial = None
        elif self.trial is None:
            self.trial = Trial(self.plan.model)

    def _cores_enough(self) -> bool:
        return self.plan.ahead == "always" or len(os.sched_getaffinity(0)) > 1

    def close(self) -> None:
        """Lets go of the model, and of the memory that it had."""
        with self._comparing:
            was, self.ready = self.ready, False
            if self.shadow is not None:
                self.shadow.close()
        self._stack.close()
        self._prepared.clear()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if was and trim is not None:
            trim(0)  # without it the engine is some 10 MB larger after a hundred switches
