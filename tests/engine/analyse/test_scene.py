"""Tracks, zones, lines and their events, one matter at a time."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import EventsPlan, TrackPlan
from tests.engine.analyse.moments import LINE, NOW, ZONE, Watched, box


def test_a_walk_through_is_told_in_order_and_once() -> None:
    watched = Watched(zones=(replace(ZONE, loiter=1.6),))
    watched.walk(100, 900, 80)
    watched.empty(15)
    assert watched.types() == ["appear", "enter", "cross", "loiter", "exit", "leave"]
    assert {happening.number for happening in watched.told} == {1}
    crossed = watched.told[2]
    assert (crossed.line, crossed.direction) == ("gate", "left")
    assert watched.last is not None
    assert watched.last.lines == (("gate", 1, 0),)


@pytest.mark.parametrize("interval", [1 / 3, 0.2, 0.1, 0.04])
def test_it_is_the_same_at_any_rate(interval: float) -> None:
    watched = Watched()
    watched.walk(100, 900, round(8 / interval), seconds=interval)
    watched.empty(30)
    assert watched.types() == ["appear", "enter", "cross", "exit", "leave"]


def test_a_slow_camera_loses_nobody_between_two_pictures() -> None:
    watched = Watched(zones=(), lines=())
    for _ in range(6):
        watched.frame(box(300), seconds=5.0)
    assert watched.types() == ["appear"]


def test_a_stream_that_changes_its_size_changes_nothing_else() -> None:
    """The camera shows half as many pixels from the middle of the walk on, in another shape."""
    whole, changed = Watched(), Watched()
    for number in range(60):
        item = box(300 + 7 * number)
        whole.frame(item)
        half = replace(item, box=(item.box[0] / 2, item.box[1] / 4, item.box[2] / 2, item.box[3] / 4))
        changed.see(Detections((half,), (500, 250)) if number >= 30 else Detections((item,), (1000, 1000)))
        assert changed.last is not None
        assert changed.last.counts == (whole.last.counts if whole.last else None)
    assert [(each.type, each.number, each.box) for each in changed.told] == [
        (each.type, each.number, pytest.approx(each.box, abs=0.002)) for each in whole.told
    ]
    assert {"appear", "enter", "cross", "exit"} <= set(changed.types())
    (place,) = changed.follow.places()
    assert place[2] < 500
    assert place[3] < 250


def test_what_is_gone_comes_back_as_another() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(200, 300, 10)
    watched.empty(15)
    watched.walk(200, 300, 10)
    assert [(told.type, told.number) for told in watched.told] == [("appear", 1), ("leave", 1), ("appear", 2)]


def test_what_stands_still_may_be_hidden_longer() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(300, 300, 60)
    watched.empty(40)
    watched.walk(300, 300, 20)
    assert watched.types() == ["appear"]
    watched.empty(120)
    assert watched.types() == ["appear", "leave"]


def test_one_stray_box_is_nothing_and_takes_no_id() -> None:
    watched = Watched()
    watched.frame(box(500))
    watched.empty(20)
    watched.walk(100, 200, 10)
    assert [(told.type, told.number) for told in watched.told] == [("appear", 1)]


def test_an_unsure_box_keeps_what_is_there_and_begins_nothing() -> None:
    watched = Watched(zones=(), lines=())
    for _ in range(20):
        watched.frame(box(300, score=0.45))
    assert watched.told == []
    watched.walk(300, 300, 10)
    for _ in range(30):
        watched.frame(box(300, score=0.45))
    assert watched.types() == ["appear"]
    assert watched.last is not None
    assert [item.number for item in watched.last.detections.objects] == [1]


def test_the_label_is_voted_and_then_kept() -> None:
    watched = Watched(zones=(), lines=())
    for label in (
        "dog",
        "cat",
        "cat",
        "cat",
        "cat",
        "cat",
        "dog",
        "dog",
        "dog",
        "dog",
        "dog",
        "dog",
        "dog",
        "dog",
        "dog",
    ):
        watched.frame(box(300, label=label))
    watched.empty(15)
    assert [(told.type, told.label) for told in watched.told] == [("appear", "cat"), ("leave", "cat")]


def test_labels_of_a_zone_and_a_line() -> None:
    watched = Watched(zones=(replace(ZONE, labels=("dog",)),), lines=(replace(LINE, labels=("dog",)),))
    watched.walk(100, 900, 80)
    watched.empty(15)
    assert watched.types() == ["appear", "leave"]


def test_the_anchor_may_be_the_middle() -> None:
    watched = Watched(
        zones=(replace(ZONE, anchor="center", polygon=((0.2, 0.1), (0.8, 0.1), (0.8, 0.46), (0.2, 0.46))),)
    )
    watched.walk(450, 450, 10)  # feet at 500, middle at 450
    assert watched.types() == ["appear", "enter"]


def test_a_line_that_ends_at_the_edge_of_the_frame_goes_on_outside() -> None:
    watched = Watched(zones=(), lines=(replace(LINE, end=(0.5, 1.0)),))
    watched.walk(300, 700, 40, y=1010)  # feet below the picture
    assert watched.types() == ["appear", "cross"]


def test_counts_at_a_line_go_on_where_the_line_did_not_change() -> None:
    before = Watched(lines=(LINE, replace(LINE, name="other")), zones=())
    before.walk(300, 700, 40)
    before.told += before.follow.end("config_changed", Instant(before.at, NOW))
    moved = replace(LINE, name="other", start=(0.6, 0.0))
    fresh = Watched(lines=(LINE, moved), zones=(ZONE,))
    fresh.follow.inherit(before.follow)
    fresh.walk(300, 700, 40)
    assert fresh.last is not None
    assert fresh.last.lines == (("gate", 2, 0), ("other", 1, 0))
    assert fresh.last.standing == (*fresh.last.essence, fresh.last.ids, fresh.last.lines)  # no reason for a result


def test_who_goes_around_a_line_has_not_crossed_it() -> None:
    watched = Watched(zones=())
    watched.walk(300, 700, 40, y=970)
    assert watched.types() == ["appear"]


def test_it_is_first_seen_right_before_it_crosses() -> None:
    watched = Watched(zones=())
    watched.walk(465, 700, 20)
    assert watched.types() == ["appear", "cross"]


def test_it_is_not_seen_any_more_right_after_it_has_crossed() -> None:
    watched = Watched(zones=())
    watched.walk(300, 535, 24)
    watched.empty(15)
    assert watched.types() == ["appear", "cross", "leave"]


def test_a_source_that_is_lost_ends_everything_zones_first() -> None:
    watched = Watched()
    watched.walk(450, 460, 20)
    ended = watched.follow.end("source_lost", Instant(watched.at, NOW + watched.at))
    assert [(told.type, told.zone, told.reason) for told in ended] == [
        ("exit", "drive", "source_lost"),
        ("leave", None, "source_lost"),
    ]
    assert watched.follow.end("stopped", Instant(watched.at, NOW)) == ()
    watched.walk(450, 460, 20)
    assert watched.told[-2].number == 2


def test_a_clock_that_jumps_leaves_since_as_long_ago_as_it_is() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(300, 300, 10, wall=0.0)
    watched.empty(15)
    left = watched.told[-1].event(2, "abcdef")
    assert left.since == "2023-11-14T22:13:20.100Z"  # NOW + 0.1, though the board took it for 1970 then


def test_a_zone_at_the_edge_of_the_frame_has_no_border_there() -> None:
    watched = Watched(zones=(replace(ZONE, polygon=((0.4, 0.2), (0.6, 0.2), (0.6, 1.0), (0.4, 1.0))),), lines=())
    watched.walk(450, 460, 20, y=1000)
    assert watched.types() == ["appear", "enter"]


def test_a_zone_may_be_narrower_than_the_margin() -> None:
    watched = Watched(zones=(replace(ZONE, polygon=((0.49, 0.2), (0.51, 0.2), (0.51, 0.9), (0.49, 0.9))),), lines=())
    watched.walk(300, 500, 20)
    watched.walk(500, 500, 20)
    assert watched.types() == ["appear", "enter"]


def test_two_that_meet_keep_their_ids() -> None:
    watched = Watched(zones=(), lines=())
    for number in range(60):
        watched.frame(box(200 + 10 * number), box(800 - 10 * number, y=510))
    assert watched.last is not None
    ids = {item.number: item.box[0] for item in watched.last.detections.objects}
    assert ids[1] > 700
    assert ids[2] < 300


def test_a_double_of_another_label_is_no_second_object() -> None:
    watched = Watched(zones=(), lines=())
    for _ in range(20):
        watched.frame(box(300, label="cat"), box(302, label="dog", score=0.6))
    assert [told.label for told in watched.told] == ["cat"]


def test_without_events_there_are_ids_and_counts_all_the_same() -> None:
    watched = Watched(events=None)
    watched.walk(450, 460, 20)
    assert watched.told == []
    assert watched.last is not None
    assert watched.last.counts == (("cat", 1),)
    assert watched.last.zones == (("drive", (("cat", 1),)),)


def test_one_that_hides_another_does_not_take_its_id() -> None:
    watched = Watched(zones=(), lines=())
    for number in range(40):
        near = box(200 + 15 * number, size=140)
        far = box(800 - 15 * number, y=490, size=136)
        hidden = abs(near.box[0] - far.box[0]) < 50
        watched.frame(*([near] if hidden else [near, far]), seconds=0.2)
    assert watched.last is not None
    ids = {item.number: item.box[0] for item in watched.last.detections.objects}
    assert ids[1] > 700
    assert ids[2] < 300


def test_a_stray_box_carries_no_id_away() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(200, 300, 20, seconds=0.2)
    watched.frame(seconds=0.2)
    watched.frame(box(420, 520), seconds=0.2)
    for _ in range(10):
        watched.frame(seconds=0.2)
    assert watched.types() == ["appear", "leave"]
    assert watched.told[1].when.moment < 20 * 0.2 + 1.5, "it is not kept alive by what was something else"


def test_stray_boxes_now_and_then_do_not_keep_what_has_left() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(300, 300, 10, seconds=0.2)
    watched.frame(seconds=0.2)
    for x in (312, 295, 320):
        watched.frame(seconds=0.2)
        watched.frame(seconds=0.2)
        watched.frame(box(x), seconds=0.2)
    for _ in range(3):
        watched.frame(seconds=0.2)
    assert watched.types() == ["appear", "leave"]


def test_stray_boxes_that_follow_a_chain_of_them_are_no_object() -> None:
    watched = Watched(zones=(), lines=())
    for x in (300, 310, 315):
        watched.frame(box(x))
    watched.empty(5)
    watched.frame(box(370))
    watched.empty(15)
    assert watched.told == []


def test_what_was_missed_before_it_was_told_is_told_when_that_is_proved() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(300, 320, 3)
    watched.empty(5)
    watched.walk(380, 390, 3)
    assert watched.told == []
    watched.frame(box(395))
    assert watched.types() == ["appear"]
    assert watched.told[0].since is not None
    assert watched.told[0].since.moment == pytest.approx(0.1)


def test_what_stops_dead_at_few_frames_a_second_stays_the_same() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(200, 400, 6, seconds=0.2)  # two of its sizes a second
    watched.frame(box(402), seconds=0.6)
    watched.walk(400, 400, 10, seconds=0.2)
    assert [(told.type, told.number) for told in watched.told] == [("appear", 1)]
    assert watched.last is not None
    assert [item.number for item in watched.last.detections.objects] == [1]


def test_who_is_hidden_just_beyond_a_border_has_gone_over_it() -> None:
    watched = Watched(lines=())
    watched.walk(450, 450, 20)
    watched.walk(450, 640, 12)
    watched.empty(6)
    assert watched.types() == ["appear", "enter", "exit"]
    watched.walk(660, 700, 10)
    assert watched.types() == ["appear", "enter", "exit"]


def test_what_was_seen_while_in_doubt_counts_once_it_is_sure() -> None:
    watched = Watched(lines=())
    watched.walk(396, 396, 10, seconds=0.2)  # at the border of the zone, which is at 400
    watched.frame(box(480), seconds=0.4)
    watched.frame(box(500), seconds=0.2)
    watched.frame(box(520), seconds=0.2)
    assert watched.types() == ["appear"]
    watched.frame(box(540), seconds=0.2)
    assert watched.types() == ["appear", "enter"]
    assert watched.told[1].since is not None
    assert watched.told[1].since.moment == pytest.approx(2.02, abs=0.05)


def test_a_shorter_patience_is_heeded() -> None:
    watched = Watched(track=TrackPlan(lost=0.3), zones=(), lines=())
    watched.walk(300, 400, 10)
    watched.empty(5)
    assert watched.types() == ["appear", "leave"]


def test_min_duration_decides_what_is_told() -> None:
    watched = Watched(events=EventsPlan(min_duration=3.0), zones=(), lines=())
    watched.walk(300, 400, 20)
    watched.empty(15)
    assert watched.told == []
    watched.walk(300, 400, 40)
    watched.empty(15)
    assert watched.types() == ["appear", "leave"]
