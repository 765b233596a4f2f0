"""The objects that are followed, row by row: what is known of each, and where each is believed to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.analyse.kalman import Motion, Rows
from edge_infer.engine.analyse.track import Track
from edge_infer.engine.tasks.detection import Found


@dataclass(slots=True)
class Crowd:
    """``tracks`` and ``motion`` have the same rows."""

    tracks: list[Track] = field(default_factory=list)
    motion: Motion = field(default_factory=lambda: Motion.at(np.zeros((0, 4))))

    def known(self) -> list[int]:
        """Rows of those who are confirmed."""
        return [row for row, track in enumerate(self.tracks) if track.number]

    def young(self) -> list[int]:
        """Rows of those who are not confirmed yet."""
        return [row for row, track in enumerate(self.tracks) if not track.number]

    def add(self, objects: Sequence[Found], columns: Sequence[int], measured: Rows, now: Instant) -> None:
        """The boxes in these ``columns`` are objects of their own."""
        self.motion = self.motion.joined(Motion.at(measured[columns]))
        for column in columns:
            found = objects[column]
            place = tuple(measured[column].tolist())
            track = Track(now, now, found.class_id, found.label, found.score, found.box, found.score, place)
            track.vote(found)
            track.mark()
            track.rest(now.moment)
            track.still_since = now.moment
            self.tracks.append(track)

    def remove(self, rows: Iterable[int]) -> tuple[Track, ...]:
        """Those in these rows, who are followed no more."""
        gone = sorted(set(rows))
        kept = sorted(set(range(len(self.tracks))) - set(gone))
        removed = tuple(self.tracks[row] for row in gone)
        self.motion = self.motion.take(kept)
        self.tracks = [self.tracks[row] for row in kept]
        return removed

    def surprise(self, rows: NDArray[np.intp], boxes: Rows) -> list[float]:
        """Squared distances to where each was expected; infinite where that is more than its size away."""
        place = self.motion.place[rows]
        far = np.abs(boxes[:, :2] - place[:, :2]).max(axis=1, initial=0.0) > np.sqrt(place[:, 2:].prod(axis=1))
        found: list[float] = np.where(far, math.inf, self.motion.surprise(rows, boxes)).tolist()
        return found
