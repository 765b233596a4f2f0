"""What was found again counts when it is seen again; until then it may be put back."""

from __future__ import annotations

import numpy as np
import pytest

from edge_infer.engine.tracking.kalman import KalmanMotion
from edge_infer.engine.tracking.matching import UNASSIGNED, Matching
from edge_infer.engine.tracking.reid_hypotheses import FAR_PATIENCE, PATIENCE, PROOFS, ReidHypotheses
from edge_infer.engine.tracking.track import TrackSet
from edge_infer.frames.frame import Instant
from edge_infer.frames.timing import FrameInterval
from tests.engine.analyse.moments import NOW, box


@pytest.fixture
def crowd() -> TrackSet:
    """One object that is missed."""
    crowd = TrackSet()
    objects = [box(100)]
    crowd.add(objects, [0], Matching.of(objects, 0.5).measured, Instant(0.0, NOW))
    crowd.tracks[0].confirmed, crowd.tracks[0].missed = True, 2
    return crowd


@pytest.mark.parametrize(("off", "patience"), [(1.0, PATIENCE), (np.inf, FAR_PATIENCE)])
def test_what_is_not_seen_once_more_was_something_else(crowd: TrackSet, off: float, patience: int) -> None:
    forks, track = ReidHypotheses(crowd, FrameInterval(0.4), 1.0), crowd.tracks[0]
    forks.believe({0: off})
    crowd.motion.put(0, KalmanMotion.at(np.array([[500.0, 500.0, 50.0, 100.0]])), 0)
    track.see(box(500), Instant(0.4, NOW))
    assert forks.proving
    for _ in range(patience):
        assert track in forks
        forks.doubt({})
    assert track not in forks
    assert (track.seen.moment, track.box, track.missed, track.hits) == (0.0, box(100).box, 2, 1)
    assert crowd.motion.place[0, 0] == 100


def test_what_is_seen_often_enough_is_proved(crowd: TrackSet) -> None:
    forks = ReidHypotheses(crowd, FrameInterval(0.4), 1.0)
    forks.believe({0: 1.0})
    crowd.tracks[0].missed = 0
    for _ in range(PROOFS):
        assert forks.proving
        forks.believe({0: 1.0})
    assert not forks.proving


def test_what_was_missed_for_long_is_seen_once_more_until_then(crowd: TrackSet) -> None:
    forks = ReidHypotheses(crowd, FrameInterval(0.4), 1.0)
    crowd.tracks[0].missed = PATIENCE
    forks.believe({0: 1.0})
    for _ in range(PROOFS + 1):
        assert forks.unproved(crowd.tracks[0])
        forks.believe({0: 1.0})
    assert not forks.proving


def test_who_was_missed_in_one_frame_was_hardly_away(crowd: TrackSet) -> None:
    forks = ReidHypotheses(crowd, FrameInterval(0.4), 1.0)
    crowd.tracks[0].missed = 1
    forks.believe({0: 1.0})
    assert forks.proving
    assert not forks.unproved(crowd.tracks[0])


def test_what_goes_on_where_it_was_going_was_not_where_it_was_found(crowd: TrackSet) -> None:
    forks = ReidHypotheses(crowd, FrameInterval(0.4), 1.0)
    forks.believe({0: np.inf})
    crowd.motion.put(0, KalmanMotion.at(np.array([[500.0, 500.0, 50.0, 100.0]])), 0)
    matching = Matching.of([box(101)], 0.5)
    forks.try_before(matching, UNASSIGNED)
    assert matching.pairs == {0: 0}
    assert crowd.motion.place[0, 0] == 100
    assert not forks.proving
