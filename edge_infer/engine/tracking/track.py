"""Track: one object over time, and the set of all tracks with their motion."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.tasks.detection import Detection
from edge_infer.engine.tracking.kalman import KalmanMotion, PathPoint, Rows
from edge_infer.frames.frame import ROUNDING, Instant
from edge_infer.frames.geometry import Box

# Track: one object over time.

LEAST_HITS: Final = 3
"""Minimum number of frames with the object before it is confirmed; one more before its first event."""
SEEN_SHARE: Final = 1 / 3
"""Minimum share of frames that must show an object before it is confirmed."""
STILL_WITHIN: Final = 0.3
"""Jitter of a still object, in box sizes."""
STILL_AFTER: Final = 5.0
"""Seconds without motion after which an object counts as still."""
WAY: Final = 1.5
"""Seconds of the path that are kept, with at most `SIGHTINGS` positions."""
SIGHTINGS: Final = 40


@dataclass(slots=True, eq=False)
class ObjectTrack:
    """One object over time.

    ``number`` is its id, 0 before it gets one; ``box`` and ``score`` are those of the last sighting.

    ``place`` is the predicted box: centre x, centre y, width, height in pixels.
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
    confirmed: bool = False
    frames: int = 1
    hits: int = 1
    missed: int = 0
    unseen: float = 0.0
    """Seconds covered by frames without the object; a pause without frames hardly counts."""
    still_since: float = 0.0
    still: bool = False
    settled: bool = False  # an event has published the label, so it no longer changes
    unproved: bool = False  # the object was found again, which is not proven yet
    doubtful: bool = False  # the object was found far from its prediction, not proven yet
    jumped: bool = False  # the object was found farther away than it can move; the scene resets this
    doubts: list[tuple[tuple[float, float, float, float], Instant]] = field(default_factory=list)
    """Unproven sightings: position and time. The scene consumes these sightings the next time it processes the
    track."""
    votes: dict[tuple[int, str], float] = field(default_factory=dict)
    path: deque[tuple[Instant, float, float]] = field(default_factory=lambda: deque(maxlen=SIGHTINGS))
    """Recent sightings: time and centre."""
    _still_at: tuple[float, float] = (0.0, 0.0)

    @property
    def age(self) -> float:
        """Seconds from the first to the last sighting."""
        return self.seen.moment - self.first.moment

    @property
    def begins_in_doubt(self) -> bool:
        """Whether the first sighting of the track is unproven."""
        return bool(self.doubts) and self.first is self.doubts[0][1]

    def seen_often(self, times: int) -> bool:
        """Return whether the object was seen ``times`` times, and in enough of the frames, to rule out chance."""
        return self.hits >= times and self.hits >= SEEN_SHARE * self.frames

    def see(self, found: Detection, now: Instant) -> None:
        """Update the track with a new sighting."""
        self.seen, self.score, self.box, self.missed, self.unseen = now, found.score, found.box, 0, 0.0
        self.hits += 1
        self.mark()
        self.vote(found)

    def mark(self) -> None:
        """Append the current sighting to the path."""
        xmin, ymin, xmax, ymax = self.box
        self.path.append((self.seen, (xmin + xmax) / 2, (ymin + ymax) / 2))
        while self.seen.moment - self.path[0][0].moment > WAY + ROUNDING:
            self.path.popleft()

    def way(self) -> list[PathPoint]:
        """Return times and positions of the last sightings."""
        return [(when.moment, x, y) for when, x, y in self.path]

    def sightings(self) -> list[tuple[tuple[float, float, float, float], Instant]]:
        """Return positions (with the current size) and times of the sightings."""
        return [((x, y, *self.place[2:]), when) for when, x, y in self.path]

    def unmark(self, since: float) -> None:
        """Remove the sightings from ``since`` on; they belonged to another object."""
        while self.path and self.path[-1][0].moment >= since:
            self.path.pop()

    def vote(self, found: Detection) -> None:
        """Use the label with the largest sum of scores, until an event has published the label."""
        self.best = max(self.best, found.score)
        if not self.settled:
            key = found.class_id, found.label
            self.votes[key] = self.votes.get(key, 0.0) + found.score
            self.class_id, self.label = max(self.votes, key=self.votes.__getitem__)

    def rest(self, moment: float) -> None:
        """Update whether the object stands still."""
        x, y, width, height = self.place
        reach = STILL_WITHIN * (width * height) ** 0.5
        if max(abs(x - self._still_at[0]), abs(y - self._still_at[1])) > reach:
            self._still_at, self.still_since = (x, y), moment
        self.still = moment - self.still_since >= STILL_AFTER


# The set of all tracks of one pipeline and their motion, row by row.


@dataclass(slots=True)
class TrackSet:
    """Set of tracks; ``tracks`` and ``motion`` have the same rows."""

    tracks: list[ObjectTrack] = field(default_factory=list)
    motion: KalmanMotion = field(default_factory=lambda: KalmanMotion.at(np.zeros((0, 4))))

    def known(self) -> list[int]:
        """Return the indices of the confirmed tracks."""
        return [row for row, track in enumerate(self.tracks) if track.confirmed]

    def moving(self) -> int:
        """Return the number of confirmed tracks that move."""
        return sum(1 for track in self.tracks if track.confirmed and not track.still)

    def young(self) -> list[int]:
        """Return the rows of tracks that are not confirmed yet."""
        return [row for row, track in enumerate(self.tracks) if not track.confirmed]

    def add(self, objects: Sequence[Detection], columns: Sequence[int], measured: Rows, now: Instant) -> None:
        """Start a track for each box in these ``columns``."""
        self.motion = self.motion.joined(KalmanMotion.at(measured[columns]))
        for column in columns:
            found = objects[column]
            place = tuple(measured[column].tolist())
            track = ObjectTrack(now, now, found.class_id, found.label, found.score, found.box, found.score, place)
            track.vote(found)
            track.mark()
            track.rest(now.moment)
            track.still_since = now.moment
            self.tracks.append(track)

    def remove(self, rows: Iterable[int]) -> tuple[ObjectTrack, ...]:
        """Remove and return the tracks in these rows."""
        gone = sorted(set(rows))
        kept = sorted(set(range(len(self.tracks))) - set(gone))
        removed = tuple(self.tracks[row] for row in gone)
        self.motion = self.motion.take(kept)
        self.tracks = [self.tracks[row] for row in kept]
        return removed

    def surprise(self, rows: NDArray[np.intp], boxes: Rows) -> list[float]:
        """Return squared distances to the predicted positions; infinite where a box is farther away than its size."""
        place = self.motion.place[rows]
        far = np.abs(boxes[:, :2] - place[:, :2]).max(axis=1, initial=0.0) > np.sqrt(place[:, 2:].prod(axis=1))
        found: list[float] = np.where(far, math.inf, self.motion.surprise(rows, boxes)).tolist()
        return found
