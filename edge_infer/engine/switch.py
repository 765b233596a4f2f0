"""A model on its way into a pipeline: loaded beside the one that serves, by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from edge_infer.engine.serving import Serving
from edge_infer.errors import told

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

BEAT: Final = 0.002


class Switch:
    """Loads at once, unless it is ``alone``: then the pipeline lets go of its model and loads the next one itself.

    The pipeline takes ``serving`` between two frames once it is `done`; whoever gives it up before closes the model.
    """

    def __init__(self, serving: Serving, *, alone: bool = False) -> None:
        self.serving = serving
        self.alone = alone
        self.error = ""
        self.seconds = self.pause = 0.0
        """How long loading took, and for how long at most no other Python thread of this process had a turn."""
        self._lock = threading.Lock()
        self._given_up = self._finished = False
        if not alone:
            threading.Thread(target=self.load, name=f"load-{serving.plan.name}", daemon=True).start()

    def done(self) -> bool:
        """Whether the pipeline has something to do."""
        return self.alone or self._finished

    def load(self) -> None:
        """Loads the model; what goes wrong is its ``error``."""
        begun = time.monotonic()
        with _Pause() as pause:
            try:
                self.serving.load()
            except Exception as error:
                self.error = told(error)
                log.debug("a model that cannot be loaded", exc_info=True)
        self.seconds, self.pause = time.monotonic() - begun, pause.worst
        with self._lock:
            self._finished = True
            if self._given_up or self.error:
                self.serving.close()

    def give_up(self) -> None:
        """It is not wanted any more; what is being loaded is let go as soon as it is there."""
        with self._lock:
            self._given_up = True
            if self._finished or self.alone:
                self.serving.close()


class _Pause:
    """How long a Python thread waits for its turn meanwhile: a constructor of the runtime keeps all of them waiting."""

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
