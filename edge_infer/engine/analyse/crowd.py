"""Tracks of one pipeline and their motion, row by row."""

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
    """Tracks; ``tracks`` and ``motion`` have the same rows."""

    tracks: list[Track] = field(default_factory=list)
    motion: Motion = field(default_factory=lambda: Motion.at(np.zeros((0, 4))))

    def known(self) -> list[int]:
        """Return the rows of confirmed tracks."""
        return [row for row, track in enumerate(self.tracks) if track.number]

    def young(self) -> list[int]:
        """Return the rows of tracks that are not confirmed yet."""
        return [row for row, track in enumerate(self.tracks) if not track.number]

    def add(self, objects: Sequence[Found], columns: Sequence[int], measured: Rows, now: Instant) -> None:
        """Start a track for each box in these ``columns``."""
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
        """Remove and return the tracks in these rows."""
        gone = sorted(set(rows))
        kept = sorted(set(range(len(self.tracks))) - set(gone))
        removed = tuple(self.tracks[row] for row in gone)
        self.motion = self.motion.take(kept)
        self.tracks = [self.tracks[row] for row in kept]
        return removed

    def surprise(self, rows: NDArray[np.intp], boxes: Rows) -> list[float]:
        """Return squared distances to the predicted places; infinite where a box is more than its size away."""
        place = self.motion.place[rows]
        far = np.abs(boxes[:, :2] - place[:, :2]).max(axis=1, initial=0.0) > np.sqrt(place[:, 2:].prod(axis=1))
        found: list[float] = np.where(far, math.inf, self.motion.surprise(rows, boxes)).tolist()
        return found
