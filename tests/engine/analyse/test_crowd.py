"""Tracks and where they are believed to be, row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_infer.engine.tracking.matching import Matching
from edge_infer.engine.tracking.track import TrackSet
from edge_infer.frames.frame import Instant
from tests.engine.analyse.moments import NOW, box


@pytest.fixture
def crowd() -> TrackSet:
    crowd = TrackSet()
    objects = [box(100), box(300), box(500)]
    crowd.add(objects, [2, 0, 1], Matching.of(objects, 0.5).measured, Instant(0.0, NOW))
    return crowd


def test_rows_stay_together(crowd: TrackSet) -> None:
    crowd.tracks[1].confirmed = True
    assert (crowd.known(), crowd.young()) == ([1], [0, 2])
    (gone,) = crowd.remove([0])
    assert gone.place[0] == 500
    assert [track.place[0] for track in crowd.tracks] == crowd.motion.place[:, 0].tolist() == [100, 300]


def test_more_than_its_size_away_is_no_surprise_but_another_place(crowd: TrackSet) -> None:
    places = crowd.motion.place + np.array([[3.0, 0, 0, 0], [0, 0, 0, 0], [90.0, 0, 0, 0]])
    near, same, far = crowd.surprise(np.arange(3), places)
    assert (same, far) == (0.0, math.inf)
    assert 0.0 < near < 6.0
