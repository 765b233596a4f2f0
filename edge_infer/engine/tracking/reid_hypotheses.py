"""Re-identification hypotheses: tracks found again after a gap or away from their prediction, not proven yet.

While a hypothesis is open, the earlier prediction is kept (a *fork*), so that the track can be rolled back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.tracking.assignment import assign
from edge_infer.engine.tracking.kalman import KalmanMotion, Rows, centred
from edge_infer.engine.tracking.matching import GATE, Matching, worth
from edge_infer.engine.tracking.track import LEAST_HITS, ObjectTrack, TrackSet
from edge_infer.frames.frame import Instant
from edge_infer.frames.geometry import Box
from edge_infer.frames.timing import FrameInterval

SURPRISE: Final = 6.0
"""Squared distance above which a box may belong to another object. One in five boxes beyond this distance is
correct."""
RESTART: Final = 0.8
"""Seconds without a sighting after which a track is no longer searched near its last position. A pause without frames
hardly counts."""
TURNED: Final = 3.0
"""Cost of the assumption that an object did not continue its motion."""
SET_OFF: Final = 2.0
"""Speed, in box sizes per second, that an object that stood still may reach."""
HASTE: Final = 1.5
"""Multiple of the object's speed beyond which the way to its new position is unknown, so that it crosses no line."""
PROOFS: Final = 2
"""Number of further sightings that prove a re-identification; one more if the track had missed `PATIENCE` frames."""
PATIENCE: Final = 3
"""Number of frames within which the next sighting of `PROOFS` must come."""
FAR_PATIENCE: Final = 1
"""Number of frames in place of `PATIENCE` for a track found farther than its size from its prediction. A stray box is
more likely there."""


@dataclass(slots=True)
class ReidHypothesis:
    """State of a track before it was found again after ``again`` missed frames, and its prediction from that state."""

    motion: KalmanMotion
    seen: Instant
    since: float
    score: float
    box: Box
    missed: int
    unseen: float
    again: int = 0
    far: bool = False
    jumped: bool = False
    frames: int = 0
    hits: int = 1
    behind: float = 0.0
    """Seconds by which ``motion`` still has to be advanced."""

    def predicted(self) -> KalmanMotion:
        """Return the motion, advanced to this frame."""
        if self.behind:
            self.motion.predict(self.behind)
            self.behind = 0.0
        return self.motion

    @property
    def unproved(self) -> bool:
        """Whether the track was found after more than one missed frame, or far from its prediction."""
        return self.again > 1 or self.far


class ReidHypotheses:
    """Open hypotheses of the tracks.

    An unproven re-identification can be rolled back to its fork, the state before it.
    """

    def __init__(self, crowd: TrackSet, pace: FrameInterval, lost: float) -> None:
        self._crowd, self._pace = crowd, pace
        self._lost = lost
        self._open: dict[ObjectTrack, ReidHypothesis] = {}

    def __contains__(self, track: ObjectTrack) -> bool:
        return track in self._open

    @property
    def proving(self) -> bool:
        """Whether any re-identification is still unproven."""
        return any(fork.again or fork.far for fork in self._open.values())

    def unproved(self, track: ObjectTrack) -> bool:
        """Return whether the track was found after more than one missed frame, or far from its prediction."""
        fork = self._open.get(track)
        return fork is not None and fork.unproved

    def far(self, track: ObjectTrack) -> bool:
        """Return whether the track was found far from its prediction."""
        fork = self._open.get(track)
        return fork is not None and fork.far

    def drop(self, track: ObjectTrack) -> None:
        """Drop the fork of a track that needs no proof any more."""
        self._open.pop(track, None)

    def predict(self) -> None:
        """Advance the predictions by the time of this frame.

        The computation is deferred, because few of the predictions are needed.
        """
        for fork in self._open.values():
            fork.behind += self._pace.ahead

    def pass_over(self) -> None:
        """Count this frame as missed in the earlier states, and mark the tracks that are in doubt."""
        for track in self._crowd.tracks:
            fork = self._open.get(track)
            if fork is None:
                track.doubtful = track.unproved = False
            else:
                track.doubtful, track.unproved = fork.far, fork.unproved
                fork.missed, fork.unseen = fork.missed + 1, fork.unseen + self._pace.step

    def restart(self, matching: Matching, same: NDArray[np.bool_], price: float) -> None:
        """Search near their last position for tracks that are not at their prediction: they stopped, started or turned.

        Unproven tracks are excluded, because stray boxes could lead an unproven track from one box to the next.
        """
        tracks, motion = self._crowd.tracks, self._crowd.motion
        rows = [
            row
            for row in self._crowd.known()
            if row not in matching.pairs
            and tracks[row].unseen + self._pace.step < RESTART
            and not self.unproved(tracks[row])
        ]
        free = matching.free(matching.sure)
        if not rows or not free:
            return
        fresh = KalmanMotion.at(last := centred(np.array([tracks[row].box for row in rows])))
        fresh.drift = (pace := self._pace_of(rows)) ** 2
        away = np.array([[self._pace.now - tracks[row].seen.moment] for row in rows])
        fresh.predict(away)
        cost = np.where(same[rows], worth(*fresh.distances(matching.measured), price - TURNED), 0.0)
        for place, index in assign(cost[:, free]):
            row, box = rows[place], matching.measured[[free[index]]]
            fork = self._open.setdefault(tracks[row], self._fork(row))
            fork.hits, fork.far = 0, True
            reach = HASTE * pace[place] * away[place] + np.sqrt(last[place, 2] * last[place, 3])
            fork.jumped = bool((np.abs(box[0, :2] - last[place, :2]) > reach).any())
            if not self._adopt(row, fork, box):
                motion.put(row, KalmanMotion.at(box), 0)  # the last position may come from a stray box
            matching.pairs[row] = free[index]

    def _pace_of(self, rows: list[int]) -> Rows:
        """Return the speed ``[n, 2]`` of objects that left their prediction: their last speed, at least `SET_OFF`."""
        motion = self._crowd.motion.take(rows)
        least = SET_OFF * np.sqrt(motion.place[:, 2:].prod(axis=1))
        pace = np.maximum(np.hypot(motion.speed[:, 0], motion.speed[:, 1]), least)
        return np.repeat(pace[:, None], 2, axis=1)

    def try_before(self, matching: Matching, price: float) -> None:
        """Match a track that was found again and is missing right afterwards with its prediction from before."""
        for row, track in enumerate(self._crowd.tracks):
            fork = self._open.get(track)
            if fork is None or row in matching.pairs or fork.unseen > self._lost:
                continue
            squared, cost = fork.predicted().distances(matching.measured)
            free = [column for column in matching.free(matching.sure) if matching.classes[column] == track.class_id]
            column = min(free, key=lambda column: cost[0, column], default=-1)
            if column >= 0 and squared[0, column] < GATE and cost[0, column] < price:
                self._go_back(row, track, fork)
                again = self._fork(row)
                if self._adopt(row, again, matching.measured[[column]]):
                    again.hits, again.far = 0, True
                    self._open[track] = again
                matching.pairs[row] = column

    def doubt(self, matched: Mapping[int, int]) -> None:
        """Roll back tracks that were found again but not confirmed in time: the box belonged to another object."""
        for row, track in enumerate(self._crowd.tracks):
            fork = self._open.get(track)
            if fork is not None and row not in matched:
                fork.frames += 1
                if fork.frames >= (FAR_PATIENCE if fork.far else PATIENCE):
                    self._go_back(row, track, fork)

    def believe(self, surprise: Mapping[int, float]) -> None:
        """Keep the earlier predictions of tracks that return or deviate, until enough sightings prove them."""
        for row, off in surprise.items():
            track = self._crowd.tracks[row]
            fork = self._open.get(track)
            if fork is not None:
                fork.frames, fork.hits = 0, fork.hits + 1
                if fork.hits > PROOFS + (fork.again >= PATIENCE):  # the object may be anywhere, and so may a stray box
                    del self._open[track]
                    track.jumped = fork.jumped
                    if fork.far and not track.settled and track.hits - fork.hits < LEAST_HITS:
                        _, track.first = track.doubts[0]  # all of so few boxes in another direction may be stray ones
            elif track.confirmed and (track.missed or off > SURPRISE):
                fork = self._open[track] = self._fork(row)
                fork.far = off == math.inf

    def _adopt(self, row: int, fork: ReidHypothesis, box: Rows) -> bool:
        """Return whether a young track that moves to ``box`` is the same object as the track in ``row``.

        The young track must have begun after the other track was last seen. If it is the same object, the track takes
        over the sightings of the young track. These sightings stay unproven and may be rolled back together.
        """
        tracks, motion = self._crowd.tracks, self._crowd.motion
        track = tracks[row]
        young = [
            place
            for place in self._crowd.young()
            if tracks[place].class_id == track.class_id and tracks[place].first.moment > fork.seen.moment
        ]
        squared, _ = motion.take(young).distances(box)
        best = int(squared[:, 0].argmin()) if young else -1
        if best < 0 or squared[best, 0] > SURPRISE:
            return False
        heir = tracks[young[best]]
        motion.put(row, motion, young[best])
        fork.since = heir.first.moment
        track.unmark(fork.since)
        track.path.extend(heir.path)
        track.doubts = heir.sightings()
        return True

    def _go_back(self, row: int, track: ObjectTrack, fork: ReidHypothesis) -> None:
        """Roll the track back to its state before it was found again."""
        self._crowd.motion.put(row, fork.predicted(), 0)
        track.seen, track.score, track.box = fork.seen, fork.score, fork.box
        track.missed, track.unseen = fork.missed, fork.unseen
        track.hits -= fork.hits
        track.unmark(fork.since)
        track.doubts.clear()
        del self._open[track]

    def _fork(self, row: int) -> ReidHypothesis:
        track = self._crowd.tracks[row]
        motion, missed = self._crowd.motion.take([row]), track.missed
        return ReidHypothesis(motion, track.seen, self._pace.now, track.score, track.box, missed, track.unseen, missed)
