"""On which side of a border something is, so that trembling on it is no crossing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.engine.analyse.instant import Instant

MARGIN: Final = 0.12
"""How far beyond a border a point has to be before it counts, as a share of the longer side of its box."""
FRAMES: Final = 3
"""In so many frames in a row at least."""


@dataclass(slots=True)
class Side:
    """``settled`` is the side (true: inside, or left) that holds; None until one is known.

    It changes when every look for ``span`` seconds, and at least `FRAMES` of them, found the point beyond the margin on
    the other side; ``since`` is then the first of these looks. What has no side yet needs no margin.
    """

    settled: bool | None = None
    since: Instant | None = None
    leaning: bool | None = None
    looks: int = 0

    def look(self, distance: float, margin: float, now: Instant, span: float) -> bool:
        """One look: ``distance`` to the border, positive on the true side. Whether the side has changed now."""
        least = margin if self.settled is not None else 0.0
        side = True if distance > least else False if distance < -least else None
        if side is None or side == self.settled:
            self.leaning, self.looks = None, 0
            return False
        if side != self.leaning:
            self.leaning, self.looks, self.since = side, 0, now
        self.looks += 1
        assert self.since is not None
        if self.looks < FRAMES or now.moment - self.since.moment < span:
            return False
        self.settled, self.leaning, self.looks = side, None, 0
        return True
