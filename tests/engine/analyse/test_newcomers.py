"""Who comes while another one is missing is somebody new, unless motion and company allow that it is the same."""

from __future__ import annotations

import pytest

from edge_infer.engine.tracking.matching import CROWDED, MOST_OTHERS, UNASSIGNED, price_of_new
from edge_infer.plan.records import TrackPlan
from tests.engine.analyse.moments import Watched, box


def ids(watched: Watched) -> list[int | None]:
    assert watched.last is not None
    return [found.number for found in watched.last.detections.objects]


@pytest.mark.parametrize("interval", [0.04, 0.1, 0.2])
def test_who_comes_behind_somebody_who_has_just_left_is_not_him(interval: float) -> None:
    watched, frames = Watched(), round(2 / interval)
    watched.walk(620, 800, frames, seconds=interval)
    for _ in range(round(0.4 / interval)):
        watched.frame(seconds=interval)
    watched.walk(450, 300, frames, seconds=interval)
    assert [happening.number for happening in watched.told if happening.type == "appear"] == [1, 2]
    assert "cross" not in watched.types()


@pytest.mark.parametrize("interval", [0.04, 0.1, 0.2])
def test_who_has_walked_out_of_the_picture_has_left_it(interval: float) -> None:
    watched, frames = Watched(), round(2 / interval)
    watched.walk(700, 990, frames, seconds=interval)
    for _ in range(round(0.6 / interval)):
        watched.frame(seconds=interval)
    assert watched.types() == ["appear", "leave"]
    watched.walk(940, 800, frames, seconds=interval)
    assert ids(watched) == [2]


def test_who_stops_or_turns_is_still_the_same() -> None:
    watched = Watched()
    watched.walk(100, 300, 15)
    watched.empty(3)
    watched.walk(300, 180, 10)
    assert ids(watched) == [1]
    assert watched.types() == ["appear"]


def test_the_more_are_around_the_sooner_a_box_is_somebody_new() -> None:
    assert price_of_new(0) == UNASSIGNED
    assert price_of_new(1) == UNASSIGNED - CROWDED
    assert price_of_new(MOST_OTHERS) == price_of_new(50) < price_of_new(1)


def test_who_was_found_farther_away_than_it_moves_crossed_nothing_on_the_way() -> None:
    watched = Watched()
    watched.walk(880, 600, 11)
    watched.empty(2)
    for _ in range(10):
        watched.frame(box(390))
    assert "cross" not in watched.types()


def test_a_box_gets_an_id_at_once_where_confirm_is_zero() -> None:
    watched = Watched(track=TrackPlan(confirm=0.0))
    watched.frame(box(100))
    assert watched.last is not None
    assert (ids(watched), watched.last.counts, watched.last.present) == ([1], (), frozenset())
    for number in range(1, 6):
        watched.frame(box(100 + 5 * number))
    assert (ids(watched), watched.last.counts, watched.last.present) == ([1], (("cat", 1),), frozenset({1}))
    watched.frame(box(130), box(700))
    watched.empty(3)
    assert [happening.number for happening in watched.told] == [1], "a stray box had an id, and was no object"
