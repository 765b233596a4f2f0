"""One object over time, as a tracker knows it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.analyse.instant import ROUNDING, Instant
from edge_infer.engine.geometry import Box
from edge_infer.engine.tasks.detection import Found

LEAST_HITS: Final = 3
"""In so many frames at least, and one more until it is told of."""
SEEN_SHARE: Final = 1 / 3
"""Share of the frames in which an object has to be seen until it counts as one."""
STILL_WITHIN: Final = 0.3
"""Sizes within which an object that stands still may tremble."""
STILL_AFTER: Final = 5.0
"""Seconds after which what has not moved stands still."""
WAY: Final = 1.5
"""Seconds of its way that are remembered, in `SIGHTINGS` places at most."""
SIGHTINGS: Final = 40


@dataclass(slots=True, eq=False)
class Track:
    """One object over time. ``number`` is its id, 0 until it is confirmed; ``box`` and ``score`` are the last seen.

    ``place`` is the box as it is believed to be: centre x, centre y, width, height in pixels.
    """

    first: Instant
    seen: Instant
    class_id: int
    label: str
    score: float
    box: Box
    best: float
    place: tuple[float, float, float, float]
    number: int = 0
    frames: int = 1
    hits: int = 1
    missed: int = 0
    unseen: float = 0.0
    """Seconds in which frames did not show it; a pause in which there was no frame to show it hardly counts."""
    still_since: float = 0.0
    still: bool = False
    settled: bool = False  # the label was told, and changes no more
    unproved: bool = False  # it was found again, which is still to be proved
    doubtful: bool = False  # it was found again far from where it was going, which is still to be proved
    doubts: list[tuple[tuple[float, float, float, float], Instant]] = field(default_factory=list)
    """Where and when it was seen while that was to be proved; whoever looks at it then takes them out."""
    votes: dict[tuple[int, str], float] = field(default_factory=dict)
    path: deque[tuple[Instant, float, float]] = field(default_factory=lambda: deque(maxlen=SIGHTINGS))
    """When and where its centre was seen."""
    _still_at: tuple[float, float] = (0.0, 0.0)

    @property
    def age(self) -> float:
        """Seconds between the first and the last time it was seen."""
        return self.seen.moment - self.first.moment

    @property
    def begins_in_doubt(self) -> bool:
        """Whether nothing is known of it from before it was in doubt whether it is this one."""
        return bool(self.doubts) and self.first is self.doubts[0][1]

    def seen_often(self, times: int) -> bool:
        """Seen so many times, and in enough of the frames, to be no chain of accidents."""
        return self.hits >= times and self.hits >= SEEN_SHARE * self.frames

    def see(self, found: Found, now: Instant) -> None:
        """It was seen again."""
        self.seen, self.score, self.box, self.missed, self.unseen = now, found.score, found.box, 0, 0.0
        self.hits += 1
        self.mark()
        self.vote(found)

    def mark(self) -> None:
        """Remembers where it was seen."""
        xmin, ymin, xmax, ymax = self.box
        self.path.append((self.seen, (xmin + xmax) / 2, (ymin + ymax) / 2))
        while self.seen.moment - self.path[0][0].moment > WAY + ROUNDING:
            self.path.popleft()

    def way(self) -> NDArray[np.float64]:
        """Moments and places of its last sightings, ``[n, 3]``."""
        return np.array([(when.moment, x, y) for when, x, y in self.path], np.float64).reshape(-1, 3)

    def sightings(self) -> list[tuple[tuple[float, float, float, float], Instant]]:
        """Where and when it was seen, about as large as it is now."""
        return [((x, y, *self.place[2:]), when) for when, x, y in self.path]

    def unmark(self, since: float) -> None:
        """What was seen from then on was not this object."""
        while self.path and self.path[-1][0].moment >= since:
            self.path.pop()

    def vote(self, found: Found) -> None:
        """The label with the largest sum of scores is the object's, until it was told."""
        self.best = max(self.best, found.score)
        if not self.settled:
            key = found.class_id, found.label
            self.votes[key] = self.votes.get(key, 0.0) + found.score
            self.class_id, self.label = max(self.votes, key=self.votes.__getitem__)

    def rest(self, moment: float) -> None:
        """Notes whether it stands still."""
        x, y, width, height = self.place
        reach = STILL_WITHIN * (width * height) ** 0.5
        if max(abs(x - self._still_at[0]), abs(y - self._still_at[1])) > reach:
            self._still_at, self.still_since = (x, y), moment
        self.still = moment - self.still_since >= STILL_AFTER
