"""Warm-up of a scene: the first frames, in which no present object can be confirmed yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.engine.analyse.instant import ROUNDING, Instant

PATIENCE: Final = 3
"""Factor by which open candidates, neither confirmed nor gone, may prolong the warm-up."""


@dataclass(slots=True)
class WarmUp:
    """Warm-up; it ends after ``frames`` frames and ``seconds`` seconds, the tracker's time to confirm an object.

    An open candidate prolongs it, up to `PATIENCE` times: a flickering detector does not keep the state unknown for
    ever.
    """

    frames: int
    seconds: float
    over: bool = False
    _seen: int = 0
    _first: Instant | None = None

    def frame(self, now: Instant, *, pending: bool) -> None:
        """Add a frame; ``pending``: one of its candidates is neither confirmed nor gone."""
        if self.over:
            return
        self._first = self._first or now
        self._seen += 1
        self.over = self._lasted(1, now) and (not pending or self._lasted(PATIENCE, now))

    def again(self) -> None:
        """Restart the warm-up."""
        self.over, self._seen, self._first = False, 0, None

    def _lasted(self, times: int, now: Instant) -> bool:
        assert self._first is not None
        enough = now.moment - self._first.moment > times * self.seconds - ROUNDING
        return enough and self._seen >= times * self.frames
