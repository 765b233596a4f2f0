"""Loads the next model of a pipeline in a separate thread, while the current model runs."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from edge_infer.engine.model.serving import Serving
from edge_infer.errors import told

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

BEAT: Final = 0.002


class ModelLoad:
    """Loads a model immediately. If ``alone``, the pipeline first closes its current model, then loads this one itself.

    The pipeline takes ``serving`` between two frames, once loading is `done`. If a caller cancels earlier, the model is
    closed.
    """

    def __init__(self, serving: Serving, *, alone: bool = False) -> None:
        self.serving = serving
        self.alone = alone
        self.error = ""
        self.seconds = self.pause = 0.0
        """Seconds that loading took, and the longest time in it during which no other Python thread of this process
        could run."""
        self._lock = threading.Lock()
        self._given_up = self._finished = False
        if not alone:
            threading.Thread(target=self.load, name=f"load-{serving.plan.name}", daemon=True).start()

    def done(self) -> bool:
        """Return whether the pipeline can act: the model is loaded, or has to be loaded by the pipeline."""
        return self.alone or self._finished

    def load(self) -> None:
        """Load the model; record a failure in ``error``."""
        begun = time.monotonic()
        with _Pause() as pause:
            try:
                self.serving.load()
            except Exception as error:
                self.error = told(error)
                log.debug("model load failed", exc_info=True)
        self.seconds, self.pause = time.monotonic() - begun, pause.worst
        with self._lock:
            self._finished = True
            if self._given_up or self.error:
                self.serving.close()

    def give_up(self) -> None:
        """Cancel the replacement. A model that is still being loaded is closed as soon as loading ends."""
        with self._lock:
            self._given_up = True
            if self._finished or self.alone:
                self.serving.close()


class _Pause:
    """Measures the longest delay of a Python thread during loading.

    The constructor of the runtime's interpreter blocks all Python threads.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pause", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(BEAT):
            now = time.monotonic()
            self.worst = max(self.worst, now - before - BEAT)
            before = now
