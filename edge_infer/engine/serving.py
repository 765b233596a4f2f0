"""One model at work on a pipeline: loaded, with all that follows from the plan it was made from."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.follow import Follow
from edge_infer.engine.mask import Mask
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.outcome import Composer
from edge_infer.engine.publication import Publication
from edge_infer.engine.shadow import Shadow
from edge_infer.engine.trial import Trial
from edge_infer.messages import Reason
from edge_infer.readers.pacer import Pacer


class Serving:
    """Made cheaply; `load` may be called in another thread than the one that uses it later, `close` twice."""

    def __init__(self, plan: PipelinePlan, boot: str, new_object: Callable[[], int], *, watched: bool = False) -> None:
        """``new_object`` gives ids for objects that are followed."""
        self.plan = plan
        self.model = LoadedModel(plan)
        self.mask = Mask(plan.mask)
        self.follow = Follow(plan, new_object)
        self.compose = Composer(plan, boot)
        self.publication = Publication(plan)
        self.pacer = Pacer(plan.fps)
        self.ready = False
        self.since = 0.0
        """When it was taken into service, on the monotonic clock."""
        self.trial: Trial | None = None
        self.watch(watched=watched)
        self.shadow: Shadow | None = None
        self._comparing = threading.Lock()  # the main thread may change what the pipeline's thread begins with
        self._stack = ExitStack()

    def load(self) -> None:
        """Loads and warms the model; raises `ModelError`, and whatever a plug-in throws."""
        self._stack.enter_context(self.model)
        self.ready = True

    def take(self, before: Serving) -> None:
        """Begins to serve in the place of another, whose half-gathered window it takes where both gather alike."""
        self.since = time.monotonic()
        if before.ready:
            self.model.inherit(before.model)

    def compared(self, plan: PipelinePlan) -> None:
        """From now on beside the shadow of this plan, which is otherwise the same, or beside none."""
        with self._comparing:
            self.plan, before = plan, self.shadow
            self.shadow = Shadow(plan) if plan.shadow is not None and self.ready else None
            if self.shadow is not None:
                self.shadow.start()
        if before is not None:
            before.close()

    def ends(self, before: Serving) -> Reason | None:
        """Why what was open before cannot go on here; None when it can."""
        old, new = before.plan, self.plan
        if old.model.sha256 != new.model.sha256:
            return "model_changed"
        same = (old.track, old.zones, old.lines, old.events, old.threshold, old.labels, old.mask, old.model) == (
            new.track, new.zones, new.lines, new.events, new.threshold, new.labels, new.mask, new.model,
        )  # fmt: skip
        return None if same else "config_changed"

    def watch(self, *, watched: bool) -> None:
        """Puts it on trial, or ends that."""
        if not watched:
            self.trial = None
        elif self.trial is None:
            self.trial = Trial(self.plan.model)

    def close(self) -> None:
        """Lets go of the model, and of the memory that it had."""
        with self._comparing:
            was, self.ready = self.ready, False
            if self.shadow is not None:
                self.shadow.close()
        self._stack.close()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if was and trim is not None:
            trim(0)  # without it the engine is some 10 MB larger after a hundred switches
