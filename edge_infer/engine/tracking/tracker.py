"""Multi-object tracker: assigns the boxes of each frame to tracks, so that an object keeps its id.

SORT (Bewley et al. 2016): predict with a Kalman filter, assign, correct. ByteTrack (Zhang et al. 2022): sure boxes are
assigned first; unsure boxes may then continue a missing track, but never start one. DeepSORT (Wojke et al. 2017): the
gate is a squared Mahalanobis distance. OC-SORT: see `occlusions`.

Additions of this project:

- All durations are in seconds.
- The cost of a pair is its likelihood instead of the overlap, which is zero between two frames of a fast object at 3
  fps.
- An object that returns after it was hidden is accepted only after further sightings. Until then the earlier prediction
  is kept (`reid_hypotheses`), so that a stray box cannot take over an id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_infer.engine.tasks.detection import Detection
from edge_infer.engine.tracking.kalman import Rows, overlaps
from edge_infer.engine.tracking.matching import Matching, births, price_of_new, worth
from edge_infer.engine.tracking.occlusions import Occlusions
from edge_infer.engine.tracking.reid_hypotheses import ReidHypotheses
from edge_infer.engine.tracking.track import LEAST_HITS, STILL_WITHIN, ObjectTrack, TrackSet
from edge_infer.frames.frame import ROUNDING, Instant
from edge_infer.frames.timing import FrameInterval
from edge_infer.plan.records import TrackPlan

STRANGE: Final = 9.0
"""Squared distance above which the visible object may be another object nearby. One in sixteen correct boxes exceeds
this distance."""
SAME_PLACE: Final = 0.5
"""Minimum overlap (IoU) at which a box with another label may be the same object."""
STILL_PATIENCE: Final = 10.0
"""Factor by which a still object may be hidden longer: a parked car behind a lorry must keep its id."""
YOUNG: Final = 2.5
"""Number of usual frame intervals for which an unconfirmed track is kept without a sighting."""
MAX_SIDE: Final = 65_535
"""Side length in pixels assumed for a picture of unknown size."""
MOST: Final = 500
"""Maximum number of tracks; a detector that finds more is faulty."""


@dataclass(frozen=True, slots=True)
class TrackerResult:
    """Outcome of a frame: ``tracks`` by position in the list of boxes, new tracks (``born``), and ended ones."""

    tracks: dict[int, ObjectTrack]
    born: dict[int, ObjectTrack]
    ended: tuple[ObjectTrack, ...]


class Tracker:
    """Tracker of the objects of one pipeline. Time must not go back. Call `forget` after an interruption."""

    def __init__(self, plan: TrackPlan, threshold: float, new_number: Callable[[], int]) -> None:
        """Start without tracks. Boxes below ``threshold`` only continue tracks; ``new_number`` returns an unused id."""
        self._lost, self._confirm = plan.lost, plan.confirm
        self._threshold = threshold
        self._new_number = new_number
        self.forget()

    def forget(self) -> None:
        """Drop all tracks."""
        self._crowd, self._pace = TrackSet(), FrameInterval()
        self._forks = ReidHypotheses(self._crowd, self._pace, self._lost)
        self._meetings = Occlusions()

    @property
    def tracks(self) -> list[ObjectTrack]:
        """All tracks, confirmed or not."""
        return self._crowd.tracks

    @property
    def unsure(self) -> bool:
        """Whether a track is missing, unconfirmed, or found again without proof."""
        return self._forks.proving or any(track.missed or not track.confirmed for track in self.tracks)

    def __call__(
        self, objects: Sequence[Detection], now: Instant, size: tuple[int, int] = (MAX_SIDE, MAX_SIDE)
    ) -> TrackerResult:
        """Process one frame of ``size`` (width, height) pixels."""
        matching = Matching.of(objects, self._threshold)
        matched = matching.pairs
        self._predict(now.moment)
        self._match(matching)
        self._forks.doubt(matched)
        self._settle(matched, matching.measured)
        rows, boxes = np.fromiter(matched, np.intp, len(matched)), matching.measured[list(matched.values())]
        surprise = dict(zip(matched, self._crowd.surprise(rows, boxes), strict=True))
        self._meet(surprise)
        self._forks.believe(surprise)
        self._crowd.motion.correct(rows, boxes)
        for row, column in matched.items():
            self.tracks[row].see(objects[column], now)
        fresh = births(objects, matching)[: max(0, MOST - len(self.tracks))]
        if fresh:
            self._crowd.add(objects, fresh, matching.measured, now)
        self._update(now)
        if not self._confirm:
            for track in self.tracks[len(self.tracks) - len(fresh) :]:
                track.number = self._new_number()  # provisional: the track may end unconfirmed
        by_box = {column: self.tracks[row] for row, column in matched.items()}
        born = dict(zip(fresh, self.tracks[len(self.tracks) - len(fresh) :], strict=True))
        gone = [row for row, track in enumerate(self.tracks) if self._is_gone(track, now, size)]
        return TrackerResult(by_box, born, self._crowd.remove(gone) if gone else ())

    def _predict(self, moment: float) -> None:
        before = self._pace.now
        self._pace.frame(moment)
        motion = self._crowd.motion
        for row, track in enumerate(self.tracks):
            if track.still and track.missed:  # a still object that is hidden stays in its place
                motion.speed[row] = motion.shared[row] = motion.drift[row] = 0.0
                reach = (STILL_WITHIN**2) * track.place[2] * track.place[3]
                motion.variance[row] = np.minimum(motion.variance[row], reach)
        if self._pace.gap:
            for row, track in enumerate(self.tracks):
                if track.confirmed and not track.missed and track not in self._forks:
                    motion.steady(row, track.way(), before)
        motion.predict(self._pace.ahead)
        self._forks.predict()
        self._meetings.predict(self._pace.ahead)

    def _match(self, matching: Matching) -> None:
        """Assign boxes to tracks, the most likely pairs first."""
        known, sure = self._crowd.known(), matching.sure
        price = price_of_new(max(0, self._crowd.moving() - 1))
        cost = worth(*self._crowd.motion.distances(matching.measured), price)
        own = np.array([track.class_id for track in self.tracks], np.int64)
        same = own[:, None] == matching.classes[None, :]
        matching.take(np.where(same, cost, 0.0), known, sure)
        self._forks.try_before(matching, price)
        self._forks.restart(matching, same, price)
        if not same.all():
            near = overlaps(self._crowd.motion.place, matching.measured) >= SAME_PLACE
            matching.take(np.where(near, cost, 0.0), known, sure)
        matching.take(cost, known, matching.unsure)
        matching.take(np.where(same, cost, 0.0), self._crowd.young(), sure)

    def _settle(self, matched: dict[int, int], measured: Rows) -> None:
        """Resolve occlusions with both objects seen. Swap their boxes if that fits better."""
        rows = {self.tracks[row]: row for row in matched if self.tracks[row].confirmed}
        motion = self._crowd.motion
        for meeting in self._meetings.both_seen(rows, self._pace.now - self._lost):
            one, other = rows[meeting.hidden], rows[meeting.other]
            if meeting.other_way_round(measured[[matched[one], matched[other]]], STRANGE):
                matched[one], matched[other] = matched[other], matched[one]
                motion.put(one, motion, other)
                motion.put(other, meeting.motion, 1)
                for track in (meeting.hidden, meeting.other):
                    self._forks.drop(track)
                    track.unmark(meeting.since)
                    track.doubts.clear()
            elif meeting.hidden in self._forks:  # the track of the hidden object may have taken a stray box
                continue
            self._meetings.settle(meeting)

    def _meet(self, surprise: dict[int, float]) -> None:
        """Open occlusions for tracks that overlap another track and are newly missing or away from their prediction."""
        known = [row for row in self._crowd.known() if not self._forks.far(self.tracks[row])]
        hidden = [row for row in known if surprise.get(row, math.inf) > STRANGE and not self.tracks[row].missed]
        seen = [row for row in known if row in surprise]
        if not hidden or not seen:
            return
        over = overlaps(self._crowd.motion.place[hidden], self._crowd.motion.place[seen])
        for row, shares in zip(hidden, over, strict=True):
            track = self.tracks[row]
            others = [
                (share, other)
                for share, other in zip(shares.tolist(), seen, strict=True)
                if share > 0.0 and other != row and self.tracks[other].class_id == track.class_id
            ]
            if others:
                _, other = max(others)
                motion = self._crowd.motion.take([row, other])
                for place, one in enumerate((track, self.tracks[other])):
                    motion.steady(place, one.way(), self._pace.now, sure=True)
                in_sight = math.isfinite(surprise.get(row, math.inf))
                self._meetings.begin(track, self.tracks[other], motion, self._pace.now, seen=in_sight)

    def _update(self, now: Instant) -> None:
        self._forks.pass_over()
        places = self._crowd.motion.place.tolist()
        for row, (track, place) in enumerate(zip(self.tracks, places, strict=True)):
            track.place = tuple(place)
            if track.first is not now:
                track.frames += 1
            if track.seen is not now:
                if not track.missed and track.confirmed:
                    self._crowd.motion.steady(row, track.way(), now.moment)
                track.missed += 1
                track.unseen += self._pace.step
                continue
            if track.doubtful:
                track.doubts.append((track.place, now))
            track.rest(now.moment)
            if not track.confirmed and track.seen_often(LEAST_HITS) and track.age > self._confirm - ROUNDING:
                track.confirmed, track.number = True, track.number or self._new_number()

    def _is_gone(self, track: ObjectTrack, now: Instant, size: tuple[int, int]) -> bool:
        """Return whether a track ends. A confirmed track needs at least two missed frames, however far apart they are.

        If its expected place is outside the picture, the object has left. Its track must end, or the next object that
        comes in there would get its id.
        """
        if track in self._forks:  # a re-identification is being proven
            return False
        if not track.confirmed:
            patience = min(max(self._confirm, YOUNG * self._pace.usual), self._lost)
            return track.missed > 0 and now.moment - track.seen.moment > patience - ROUNDING
        x, y, _, _ = track.place
        if track.missed > 1 and not (0.0 <= x <= size[0] and 0.0 <= y <= size[1]):
            return True
        return track.missed > 1 and track.unseen - ROUNDING > self._lost * (STILL_PATIENCE if track.still else 1.0)
