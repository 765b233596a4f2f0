"""The next frame of a pipeline, taken when it is time for one, there is one, and it is the pipeline's turn."""

from __future__ import annotations

import threading
import time
from typing import Final

from edge_infer.closing import Closing
from edge_infer.engine.ahead import Ahead
from edge_infer.engine.feed import TICK, Cursor, Feed
from edge_infer.engine.frame import Captured
from edge_infer.engine.serving import Serving
from edge_infer.engine.turns import Turns

SLICE: Final = 0.005
"""Seconds for which a turn may go on with the frames that follow: handing it on costs as much as a quick model."""


class Intake(Closing):
    """Between `next` and `used` the worker has its turn; a context manager, used by the worker's thread.

    Who waits for a turn has taken no frame yet, so that of a camera it is a fresh one.
    """

    def __init__(self, feed: Feed, cursor: Cursor, name: str, turns: Turns, stop: threading.Event) -> None:
        self._feed = feed
        self._cursor = cursor
        self._ahead = Ahead(feed, cursor, name)
        self._turns = turns
        self._turn = turns.join()
        self._stop = stop
        self.waited = 0.0
        """Seconds without a frame to work on, or without a turn to do so."""

    @property
    def busy_since(self) -> float:
        """When the preparation under way began, on the monotonic clock; 0 between two."""
        return self._ahead.busy_since

    def close(self) -> None:
        """Ends what prepares frames and gives the turn back; may be called twice."""
        self._ahead.close()
        self._turns.leave(self._turn)

    def serve(self, serving: Serving) -> None:
        """From now on frames are for this model; one that a delegate runs wants no cores."""
        delegated = serving.delegated()
        cores = serving.plan.threads if delegated is None or delegated.failure else 0
        self._turns.want(self._turn, serving.plan.priority, cores)

    def next(self, serving: Serving) -> Captured | None:
        """The next frame, if it is time for one, and there is one, and it is the pipeline's turn."""
        self._cursor.most = serving.pacer.most
        if (rest := serving.pacer.left(time.monotonic())) and self._feed.rest(self._cursor):
            self._stop.wait(min(rest, TICK))
            self._feed.rest(self._cursor)  # what came meanwhile is passed over, so that the frame it takes is fresh
            return None
        begun = time.monotonic()
        taken = self._in_turn() if self._turns.scarce and self._wants_a_turn(serving) else self._ahead.next(TICK)
        self.waited += time.monotonic() - begun
        return taken

    def begin(self, serving: Serving) -> None:
        """A frame goes into the model now; where others wait the next one has time, and would only become old."""
        if not self._turns.contested:
            self._ahead.begin(serving)

    def done(self, seconds: float) -> None:
        """That frame took so long."""
        self._ahead.done(seconds)

    def used(self, serving: Serving) -> None:
        """All that was taken is done with: others have their turn, unless this one was short and goes on at once."""
        if self._turn.began and not self._goes_on(serving):
            self._turns.end(self._turn)

    def pause(self) -> None:
        """No frame is taken for a while, such as that of loading a model: others have their turn."""
        if self._turn.began:
            self._turns.end(self._turn)

    def pass_over(self) -> None:
        """A while has passed: what a live source has shown before is old."""
        self._ahead.pass_over()

    def _wants_a_turn(self, serving: Serving) -> bool:
        """Whether its runs need cores, for longer than it would wait for them."""
        return self._turn.cores > 0 and (self._feed.lossless or not serving.quick)

    def _in_turn(self) -> Captured | None:
        if not self._turn.began:
            if not self._ahead.wait(TICK) or not self._turns.take(self._turn, TICK):
                return None
            if self._feed.wait(self._cursor, 0.0):  # something newer than what was prepared
                self._ahead.pass_over()
        return self._ahead.next(0.0)

    def _goes_on(self, serving: Serving) -> bool:
        now = time.monotonic()
        return now - self._turn.began < SLICE and not serving.pacer.left(now) and self._ahead.wait(0.0)
