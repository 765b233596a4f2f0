"""Which box of this frame is which object of those before: ids that stay.

SORT (Bewley et al. 2016): predict with a Kalman filter, assign, correct. ByteTrack (Zhang et al. 2022): sure boxes are
assigned first, then what is still missing may be found among the unsure ones, which begin nothing. DeepSORT (Wojke et
al. 2017): the gate is a squared Mahalanobis distance. OC-SORT: see `meetings`. Own here: everything
is in seconds, the cost of a pair is its likelihood instead of the overlap (which is none between two frames of a fast
object at 3 fps), and an object that comes back after it was hidden is believed only when it is seen again: until then
the prediction from before is kept beside it, so that a stray box cannot carry an id away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import TrackPlan
from edge_infer.engine.analyse.assignment import assign
from edge_infer.engine.analyse.instant import ROUNDING, Instant
from edge_infer.engine.analyse.kalman import Motion, Rows, centred, overlaps
from edge_infer.engine.analyse.meetings import Meetings
from edge_infer.engine.analyse.track import LEAST_HITS, STILL_WITHIN, Track
from edge_infer.engine.geometry import Box
from edge_infer.engine.tasks.detection import Found

GATE: Final = 20.0
"""Squared distance beyond which a box is another object's: once in two thousand times it would not be."""
UNASSIGNED: Final = 25.0
"""What it costs to leave an object and a box without each other: as unlikely is a stray box just there if every fifth
frame has one somewhere."""
SURPRISE: Final = 6.0
"""Squared distance from which on a box is so far off that it may be another's: once in five times it is not."""
STRANGE: Final = 9.0
"""The same from which on another that is close may be the one that was seen: once in sixteen times it is not."""
RESTART: Final = 0.8
"""Seconds after which it is too late to look for an object where it was."""
SAME_PLACE: Final = 0.5
"""Overlap from which on a box of another label may be the same object, seen differently."""
DOUBLE: Final = 0.8
"""Overlap with an object's box from which on a box of another label is no second object."""
PROOFS: Final = 2
"""How many more times an object has to be seen that was found again."""
PATIENCE: Final = 3
"""Frames that may pass until the next of these times."""
FAR_PATIENCE: Final = 1
"""The same for what was found more than its size away from where it was going: there a stray box is the likelier."""
STILL_PATIENCE: Final = 10.0
"""How many times longer what stands still may be hidden: a parked car behind a lorry is no new car afterwards."""
USUAL_GAIN: Final = 0.1
PAUSE: Final = 1.5
"""Usual intervals between two frames; of a longer one no more than this is time in which an object was missed."""
GAP: Final = 2.5
"""Usual intervals from which on a longer one counts by the way that an object has gone, not by its last steps."""
FORESIGHT: Final = 1.0
"""Seconds that are looked ahead from one frame to the next; nobody knows where things go between slow pictures."""
MOST: Final = 500
"""Objects that are followed at once; a detector that sees more has gone mad."""


@dataclass(slots=True)
class _Fork:
    """An object as it was predicted before it was found again, which is still to be proved."""

    motion: Motion
    seen: Instant
    since: float
    score: float
    box: Box
    missed: int
    unseen: float
    again: bool = False
    far: bool = False
    frames: int = 0
    hits: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a frame's boxes: ``tracks`` by position in the list of boxes, and the tracks that have ended."""

    tracks: dict[int, Track]
    ended: tuple[Track, ...]


class Tracker:
    """Follows the objects of one pipeline. Time must not go back; `forget` when it has been lost sight of all."""

    def __init__(self, plan: TrackPlan, threshold: float, new_number: Callable[[], int]) -> None:
        """Boxes below ``threshold`` only keep what is there; ``new_number`` gives ids that were never used before."""
        self._lost, self._confirm = plan.lost, plan.confirm
        self._threshold = threshold
        self._new_number = new_number
        self.forget()

    def forget(self) -> None:
        """Nothing is followed any more."""
        self.tracks: list[Track] = []
        self._motion = Motion.at(np.zeros((0, 4)))
        self._forks: dict[Track, _Fork] = {}
        self._meetings = Meetings()
        self._last = -math.inf
        self._usual = self._step = 0.0

    @property
    def unsure(self) -> bool:
        """Whether somebody is missed, not confirmed yet, or found again and still to be proved."""
        proving = any(fork.again or fork.far for fork in self._forks.values())
        return proving or any(track.missed or not track.number for track in self.tracks)

    def __call__(self, objects: Sequence[Found], now: Instant) -> Seen:
        """One frame."""
        measured = centred(np.array([found.box for found in objects], np.float64).reshape(-1, 4))
        self._predict(now.moment)
        matched = self._match(objects, measured)
        self._doubt(matched)
        self._settle(matched, measured)
        rows, boxes = np.fromiter(matched, np.intp, len(matched)), measured[list(matched.values())]
        surprise = dict(zip(matched, self._surprise(rows, boxes), strict=True))
        self._meet(surprise)
        self._believe(rows, boxes, surprise)
        for row, column in matched.items():
            self.tracks[row].see(objects[column], now)
        self._begin(objects, measured, set(matched.values()), now)
        self._update(now)
        by_box = {column: self.tracks[row] for row, column in matched.items()}
        return Seen(by_box, self._end(now))

    def _predict(self, moment: float) -> None:
        seconds = min(max(0.0, moment - self._last), FORESIGHT)
        interval = max(0.0, moment - self._last) if math.isfinite(self._last) else 0.0
        self._usual += (interval - self._usual) * (USUAL_GAIN if self._usual else 1.0)
        self._step = min(interval, PAUSE * self._usual)
        before, self._last = self._last, moment
        for row, track in enumerate(self.tracks):
            if track.still and track.missed:  # what stood still and is hidden stays where it is
                self._motion.speed[row] = self._motion.shared[row] = self._motion.drift[row] = 0.0
                reach = (STILL_WITHIN**2) * track.place[2] * track.place[3]
                self._motion.variance[row] = np.minimum(self._motion.variance[row], reach)
        if seconds > GAP * self._usual:
            for row, track in enumerate(self.tracks):
                if track.number and not track.missed and track not in self._forks:
                    self._motion.steady(row, track.way(), before)
        self._motion.predict(seconds)
        for fork in self._forks.values():
            fork.motion.predict(seconds)
        self._meetings.predict(seconds)

    def _match(self, objects: Sequence[Found], measured: Rows) -> dict[int, int]:
        """Rows of tracks and columns of boxes that belong together; `_forks` that were right are put back."""
        sure = [column for column, found in enumerate(objects) if found.score >= self._threshold]
        unsure = [column for column, found in enumerate(objects) if found.score < self._threshold]
        known = [row for row, track in enumerate(self.tracks) if track.number]
        young = [row for row, track in enumerate(self.tracks) if not track.number]
        classes = np.array([found.class_id for found in objects], np.int64)
        matched: dict[int, int] = {}
        squared, cost = self._motion.distances(measured)
        cost = np.where(squared < GATE, cost - UNASSIGNED, 0.0)
        own = np.array([track.class_id for track in self.tracks], np.int64)
        same = own[:, None] == classes[None, :]
        _take(matched, np.where(same, cost, 0.0), known, sure)
        self._try_forks(matched, measured, classes, sure)
        self._restart(matched, measured, same, known, sure)
        if not same.all():
            near = overlaps(self._motion.place, measured) >= SAME_PLACE
            _take(matched, np.where(near, cost, 0.0), known, sure)
        _take(matched, cost, known, unsure)
        _take(matched, np.where(same, cost, 0.0), young, sure)
        return matched

    def _restart(
        self, matched: dict[int, int], measured: Rows, same: NDArray[np.bool_], known: list[int], sure: list[int]
    ) -> None:
        """What is not where it was going has stopped dead, or started, or turned: it may be near where it was."""
        rows = [
            row
            for row in known
            if row not in matched
            and self._last - self.tracks[row].seen.moment < RESTART
            and not self._is_far(self.tracks[row])
        ]
        if not rows or len(matched) == len(measured):
            return
        fresh = Motion.at(centred(np.array([self.tracks[row].box for row in rows])))
        fresh.predict(np.array([[self._last - self.tracks[row].seen.moment] for row in rows]))
        squared, cost = fresh.distances(measured)
        free = [column for column in sure if column not in set(matched.values())]
        pairs: dict[int, int] = {}
        _take(pairs, np.where((squared < GATE) & same[rows], cost - UNASSIGNED, 0.0), list(range(len(rows))), free)
        for place, column in pairs.items():
            row, track = rows[place], self.tracks[rows[place]]
            fork = self._forks.setdefault(track, self._fork(row, track))
            fork.hits, fork.far = 0, True
            if not self._adopt(row, fork, measured[[column]]):
                self._motion.put(row, Motion.at(measured[[column]]), 0)  # where it was last may have been a stray box
            matched[row] = column

    def _adopt(self, row: int, fork: _Fork, box: Rows) -> bool:
        """Whether what began in another place since a track was seen, and is going just there, is that same object.

        Then where that was seen is where this was: it is not known for sure, but will be, or all of it is taken back.
        """
        track = self.tracks[row]
        young = [
            place
            for place, other in enumerate(self.tracks)
            if not other.number and other.class_id == track.class_id and other.first.moment > fork.seen.moment
        ]
        squared, _ = self._motion.take(young).distances(box)
        best = int(squared[:, 0].argmin()) if young else -1
        if best < 0 or squared[best, 0] > SURPRISE:
            return False
        heir = self.tracks[young[best]]
        self._motion.put(row, self._motion, young[best])
        fork.since = heir.first.moment
        track.unmark(fork.since)
        track.path.extend(heir.path)
        track.doubts = heir.sightings()
        return True

    def _try_forks(self, matched: dict[int, int], measured: Rows, classes: NDArray[np.int64], sure: list[int]) -> None:
        """What is missing again right after it was found may still be where it was going before."""
        for row, track in enumerate(self.tracks):
            fork = self._forks.get(track)
            if fork is None or row in matched or fork.unseen > self._lost:
                continue
            squared, cost = fork.motion.distances(measured)
            taken = set(matched.values())
            free = [column for column in sure if column not in taken and classes[column] == track.class_id]
            column = min(free, key=lambda column: cost[0, column], default=-1)
            if column >= 0 and squared[0, column] < GATE and cost[0, column] < UNASSIGNED:
                self._go_back(row, track, fork)
                again = self._fork(row, track)
                if self._adopt(row, again, measured[[column]]):
                    again.hits, again.far = 0, True
                    self._forks[track] = again
                matched[row] = column

    def _go_back(self, row: int, track: Track, fork: _Fork) -> None:
        """It was not found again after all."""
        self._motion.put(row, fork.motion, 0)
        track.seen, track.score, track.box = fork.seen, fork.score, fork.box
        track.missed, track.unseen = fork.missed, fork.unseen
        track.hits -= fork.hits
        track.unmark(fork.since)
        track.doubts.clear()
        del self._forks[track]

    def _doubt(self, matched: dict[int, int]) -> None:
        """What was found again and then not seen once more was something else."""
        for row, track in enumerate(self.tracks):
            fork = self._forks.get(track)
            if fork is not None and row not in matched:
                fork.frames += 1
                if fork.frames >= (FAR_PATIENCE if fork.far else PATIENCE):
                    self._go_back(row, track, fork)

    def _settle(self, matched: dict[int, int], measured: Rows) -> None:
        """Puts right who is who where one was hidden by another, now that both are seen."""
        rows = {self.tracks[row]: row for row in matched if self.tracks[row].number}
        for meeting in self._meetings.both_seen(rows, self._last - self._lost):
            one, other = rows[meeting.hidden], rows[meeting.other]
            if meeting.other_way_round(measured[[matched[one], matched[other]]], STRANGE):
                matched[one], matched[other] = matched[other], matched[one]
                self._motion.put(one, self._motion, other)
                self._motion.put(other, meeting.motion, 1)
                for track in (meeting.hidden, meeting.other):
                    self._forks.pop(track, None)
                    track.unmark(meeting.since)
                    track.doubts.clear()
            elif meeting.hidden in self._forks:  # it may be a stray box that was taken for it
                continue
            self._meetings.settle(meeting)

    def _surprise(self, rows: NDArray[np.intp], boxes: Rows) -> list[float]:
        """Squared distances to where each was expected; infinite where that is more than its size away."""
        place = self._motion.place[rows]
        far = np.abs(boxes[:, :2] - place[:, :2]).max(axis=1, initial=0.0) > np.sqrt(place[:, 2:].prod(axis=1))
        found: list[float] = np.where(far, math.inf, self._motion.surprise(rows, boxes)).tolist()
        return found

    def _meet(self, surprise: dict[int, float]) -> None:
        """Notes whom another may hide now: who is missing for the first time, or not where it should be."""
        known = [row for row, track in enumerate(self.tracks) if track.number and not self._is_far(track)]
        hidden = [row for row in known if surprise.get(row, math.inf) > STRANGE and not self.tracks[row].missed]
        seen = [row for row in known if row in surprise]
        if not hidden or not seen:
            return
        over = overlaps(self._motion.place[hidden], self._motion.place[seen])
        for row, shares in zip(hidden, over, strict=True):
            track = self.tracks[row]
            others = [
                (share, other)
                for share, other in zip(shares.tolist(), seen, strict=True)
                if share > 0.0 and other != row and self.tracks[other].class_id == track.class_id
            ]
            if others:
                _, other = max(others)
                motion = self._motion.take([row, other])
                for place, one in enumerate((track, self.tracks[other])):
                    motion.steady(place, one.way(), self._last, sure=True)
                self._meetings.begin(
                    track, self.tracks[other], motion, self._last, seen=math.isfinite(surprise.get(row, math.inf))
                )

    def _believe(self, rows: NDArray[np.intp], boxes: Rows, surprise: dict[int, float]) -> None:
        """Corrects the predictions, and keeps those of objects that come back, or are not where they should be."""
        for row, off in surprise.items():
            track = self.tracks[row]
            fork = self._forks.get(track)
            if fork is not None:
                fork.frames, fork.hits = 0, fork.hits + 1
                if fork.hits > PROOFS:
                    del self._forks[track]
            elif track.number and (track.missed or off > SURPRISE):
                fork = self._forks[track] = self._fork(row, track)
                fork.far = off == math.inf
        self._motion.correct(rows, boxes)

    def _is_far(self, track: Track) -> bool:
        fork = self._forks.get(track)
        return fork is not None and fork.far

    def _fork(self, row: int, track: Track) -> _Fork:
        again, motion = track.missed > 0, self._motion.take([row])
        return _Fork(motion, track.seen, self._last, track.score, track.box, track.missed, track.unseen, again)

    def _begin(self, objects: Sequence[Found], measured: Rows, taken: set[int], now: Instant) -> None:
        fresh = [c for c, found in enumerate(objects) if c not in taken and found.score >= self._threshold]
        fresh.sort(key=lambda column: -objects[column].score)
        fresh = _without_doubles(fresh, sorted(taken), measured)
        fresh = fresh[: max(0, MOST - len(self.tracks))]
        if not fresh:
            return
        self._motion = self._motion.joined(Motion.at(measured[fresh]))
        for column in fresh:
            found = objects[column]
            place = tuple(measured[column].tolist())
            track = Track(now, now, found.class_id, found.label, found.score, found.box, found.score, place)
            track.vote(found)
            track.mark()
            track.rest(now.moment)
            track.still_since = now.moment
            self.tracks.append(track)

    def _update(self, now: Instant) -> None:
        places = self._motion.place.tolist()
        for row, (track, place) in enumerate(zip(self.tracks, places, strict=True)):
            fork = self._forks.get(track)
            track.place, track.doubtful = tuple(place), self._is_far(track)
            if fork is not None:  # for the object where it was, this frame is one that did not show it
                fork.missed, fork.unseen = fork.missed + 1, fork.unseen + self._step
            if track.first is not now:
                track.frames += 1
            if track.seen is not now:
                if not track.missed and track.number:
                    self._motion.steady(row, track.way(), self._last)
                track.missed += 1
                track.unseen += self._step
                continue
            if track.doubtful:
                track.doubts.append((track.place, now))
            track.rest(now.moment)
            if not track.number and track.seen_often(LEAST_HITS) and track.age > self._confirm - ROUNDING:
                track.number = self._new_number()

    def _end(self, now: Instant) -> tuple[Track, ...]:
        gone = [row for row, track in enumerate(self.tracks) if self._is_gone(track, now)]
        if not gone:
            return ()
        ended = tuple(self.tracks[row] for row in gone)
        kept = sorted(set(range(len(self.tracks))) - set(gone))
        self._motion = self._motion.take(kept)
        self.tracks = [self.tracks[row] for row in kept]
        for track in ended:
            self._forks.pop(track, None)
        return ended

    def _is_gone(self, track: Track, now: Instant) -> bool:
        """Two frames have to miss it, however far they are apart; one that is not confirmed has no such patience."""
        if track in self._forks:  # that it was found again is being proved
            return False
        if not track.number:
            unseen = now.moment - track.seen.moment
            return track.missed > 0 and unseen > min(self._confirm, self._lost) - ROUNDING
        return track.missed > 1 and track.unseen - ROUNDING > self._lost * (STILL_PATIENCE if track.still else 1.0)


def _without_doubles(fresh: list[int], taken: list[int], measured: Rows) -> list[int]:
    """New boxes, best first, that do not lie on one that is taken or better."""
    if not fresh or len(fresh) + len(taken) < 2:
        return fresh
    over = overlaps(measured[fresh], measured[[*taken, *fresh]]) > DOUBLE
    kept: list[int] = []
    for row, column in enumerate(fresh):
        others = [*range(len(taken)), *(len(taken) + fresh.index(better) for better in kept)]
        if not over[row, others].any():
            kept.append(column)
    return kept


def _take(matched: dict[int, int], cost: Rows, rows: list[int], columns: list[int]) -> None:
    """Adds the best pairs of rows and columns that are still free."""
    taken = set(matched.values())
    free_rows = [row for row in rows if row not in matched]
    free_columns = [column for column in columns if column not in taken]
    if free_rows and free_columns:
        for row, column in assign(cost[np.ix_(free_rows, free_columns)]):
            matched[free_rows[row]] = free_columns[column]
