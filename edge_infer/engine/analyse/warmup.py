"""The first frames of a scene, in which an object that is there could not be confirmed yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.engine.analyse.instant import ROUNDING, Instant

PATIENCE: Final = 3
"""How many times longer it may take while candidates are there that are neither confirmed nor gone."""


@dataclass(slots=True)
class WarmUp:
    """It is over after ``frames`` frames and ``seconds`` seconds, in which the tracker confirms what it sees at once.

    A candidate that is still open then makes it last longer, up to `PATIENCE` times: a detector that flickers
    does not keep the state unknown for ever.
    """

    frames: int
    seconds: float
    over: bool = False
    _seen: int = 0
    _first: Instant | None = None

    def frame(self, now: Instant, *, pending: bool) -> None:
        """The next frame; ``pending``: a candidate of it is neither confirmed nor gone."""
        if self.over:
            return
        self._first = self._first or now
        self._seen += 1
        self.over = self._lasted(1, now) and (not pending or self._lasted(PATIENCE, now))

    def again(self) -> None:
        """Nothing is known any more."""
        self.over, self._seen, self._first = False, 0, None

    def _lasted(self, times: int, now: Instant) -> bool:
        assert self._first is not None
        enough = now.moment - self._first.moment > times * self.seconds - ROUNDING
        return enough and self._seen >= times * self.frames
