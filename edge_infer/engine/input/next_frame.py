"""Supplies the next frame of a pipeline, when a frame is due and available and the pipeline has its turn."""

from __future__ import annotations

import threading
import time
from typing import Final

from edge_infer.engine.input.feed import TICK, Cursor, Feed
from edge_infer.engine.input.prefetch import Ahead
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.model.serving import Serving
from edge_infer.frames.frame import Captured
from edge_infer.platform.closing import Closing

SLICE: Final = 0.005
"""Seconds for which a turn may continue with further frames. Handing a turn over takes as long as one run of a quick
model."""


class Intake(Closing):
    """Supplies frames to the worker's thread, which holds its turn from `next` to `used`; a context manager.

    A pipeline that waits for its turn has not taken a frame yet. When the turn comes, it gets a fresh frame of a
    camera.
    """

    def __init__(self, feed: Feed, cursor: Cursor, name: str, turns: Turns, stop: threading.Event) -> None:
        self._feed = feed
        self._cursor = cursor
        self._ahead = Ahead(feed, cursor, name)
        self._turns = turns
        self._turn = turns.join()
        self._stop = stop
        self.waited = 0.0
        """Seconds spent waiting for a frame or for a turn."""

    @property
    def busy_since(self) -> float:
        """Time at which the current preparation began, on the monotonic clock; 0 when idle."""
        return self._ahead.busy_since

    def close(self) -> None:
        """Stop preparing frames and give the turn back; may be called twice."""
        self._ahead.close()
        self._turns.leave(self._turn)

    def serve(self, serving: Serving) -> None:
        """Supply frames for this model from now on. A model that runs on a delegate needs no cores."""
        delegated = serving.delegated()
        cores = serving.plan.threads if delegated is None or delegated.failure else 0
        self._turns.want(self._turn, serving.plan.priority, cores)

    def next(self, serving: Serving) -> Captured | None:
        """Return the next frame if one is due and available and it is the pipeline's turn; otherwise None."""
        self._cursor.most = serving.pacer.most
        begun = time.monotonic()
        if (rest := serving.pacer.left(begun)) and self._feed.rest(self._cursor):
            self._stop.wait(min(rest, TICK))
            self._feed.rest(self._cursor)  # skip the frames that arrive while it waits, so that the next one is fresh
            return None
        taken = self._in_turn() if self._turns.scarce and self._wants_a_turn(serving) else self._ahead.next(TICK)
        self.waited += time.monotonic() - begun
        return taken

    def begin(self, serving: Serving) -> None:
        """Start to prefetch while the model runs on a frame.

        Do nothing if other pipelines wait, because the prefetched frame would become old.
        """
        if serving.prepares and not self._turns.contested:
            self._ahead.begin(serving)

    def done(self, seconds: float) -> None:
        """Record how long the frame took, in seconds. Only a model whose frames are prefetched needs that."""
        self._ahead.done(seconds)

    def used(self, serving: Serving) -> None:
        """Finish the frame and give up the turn, unless the frame was so short that the turn can continue."""
        if self._turn.began and not self._goes_on(serving):
            self._turns.end(self._turn)

    def pause(self) -> None:
        """Give up the turn for a pause, for example while a model is loaded."""
        if self._turn.began:
            self._turns.end(self._turn)

    def pass_over(self) -> None:
        """Discard the prefetched frame of a live source after a delay, because it is old."""
        self._ahead.pass_over()

    def _wants_a_turn(self, serving: Serving) -> bool:
        """Return whether the model needs cores, and for longer than waiting for a turn would take."""
        return self._turn.cores > 0 and (self._feed.lossless or not serving.quick)

    def _in_turn(self) -> Captured | None:
        if not self._turn.began:
            if not self._ahead.wait(TICK) or not self._turns.take(self._turn, TICK):
                return None
            if self._feed.wait(self._cursor, 0.0):  # a frame newer than the prefetched one
                self._ahead.pass_over()
        return self._ahead.next(0.0)

    def _goes_on(self, serving: Serving) -> bool:
        now = time.monotonic()
        return now - self._turn.began < SLICE and not serving.pacer.left(now) and self._ahead.wait(0.0)
