"""Pictures far apart: what happened between two of them is what the way from one to the next says."""

from __future__ import annotations

import random

import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.tasks.detection import Detection
from tests.engine.analyse.moments import LINE, ZONE, Watched, box


def test_who_was_in_a_zone_in_two_pictures_and_long_enough_between_them_was_there() -> None:
    watched = Watched(lines=())
    watched.walk(150, 350, 5, seconds=0.2)
    for x, seconds in ((450, 0.4), (550, 0.4), (700, 0.6)):
        watched.frame(box(x), seconds=seconds)
    assert watched.types() == ["appear", "enter"]
    watched.walk(750, 850, 3, seconds=0.2)
    assert watched.types() == ["appear", "enter", "exit"]
    assert watched.told[1].since is not None
    assert watched.told[1].since.moment == pytest.approx(1.2, abs=0.05)


def test_who_was_seen_in_a_zone_for_a_moment_only_was_not_there() -> None:
    watched = Watched(lines=())
    watched.walk(150, 350, 5, seconds=0.2)
    for x in (415, 425, 390, 350, 300, 250):
        watched.frame(box(x), seconds=0.2)
    assert watched.types() == ["appear"]


def test_over_a_line_and_back_between_pictures_are_two_crossings() -> None:
    watched = Watched(zones=())
    watched.walk(400, 480, 5, seconds=0.2)
    for x, seconds in ((540, 0.6), (545, 0.2), (455, 0.8), (435, 0.2), (415, 0.2)):
        watched.frame(box(x), seconds=seconds)
    assert [(told.type, told.direction) for told in watched.told] == [
        ("appear", None),
        ("cross", "left"),
        ("cross", "right"),
    ]
    assert watched.told[1].line == LINE.name


def test_what_began_elsewhere_while_a_stray_box_was_taken_for_it_is_the_same() -> None:
    watched = Watched(lines=())
    watched.walk(396, 396, 10, seconds=0.2)  # at the border of the zone, which is at 400
    watched.frame(box(310, 480), box(500), seconds=1.2)
    for x, seconds in ((560, 0.4), (625, 0.4), (655, 0.2), (715, 0.4), (745, 0.2)):
        watched.frame(box(x), seconds=seconds)
    assert watched.types() == ["appear", "enter", "exit"]
    assert {told.number for told in watched.told} == {1}
    assert watched.told[1].zone == ZONE.name


def test_who_went_off_in_a_pause_that_no_frame_shows_is_the_same() -> None:
    watched = Watched(zones=())
    for x, seconds in (*[(440, 0.2)] * 20, (630, 1.4), (765, 1.0), (792, 0.2), (819, 0.2)):
        watched.frame(box(x, size=60), seconds=seconds)
    assert watched.types() == ["appear", "cross"]
    assert {told.number for told in watched.told} == {1}


@pytest.mark.parametrize("seed", [11, 32, 41, 74, 79, 87])  # at which their last steps alone mislead
def test_who_pass_each_other_slowly_keep_their_ids_though_their_boxes_tremble(seed: int) -> None:
    dice = random.Random(seed)

    def trembling(x: float, y: float, height: float) -> Detection:
        return box(x + dice.gauss(0, 0.025 * height), y + dice.gauss(0, 0.05 * height), size=height)

    watched = Watched(zones=(), lines=())
    for number in range(50):
        right, left = 300 + 12 * number, 900 - 12 * number  # 60 pixels a second
        found = [trembling(right, 520, 160)]
        if abs(right - left) > 40:
            found.append(trembling(left, 490, 156))
        if dice.random() > 0.2 or number == 49:
            watched.frame(*found, seconds=0.2)
        else:
            watched.at += 0.2
    assert watched.last is not None
    ids = {item.number: item.box[0] for item in watched.last.detections.objects}
    assert list(ids) == [1, 2]
    assert ids[1] > ids[2]


def test_who_may_have_left_a_zone_does_not_loiter_there() -> None:
    watched = Watched(lines=(), zones=(replace(ZONE, loiter=4.0),))
    watched.walk(410, 500, 18, seconds=0.2)
    for x, seconds in ((700, 0.5), (720, 0.2), (740, 0.2), (760, 0.2), (780, 0.2)):
        watched.frame(box(x), seconds=seconds)
    assert watched.types() == ["appear", "enter", "exit"]


def test_who_was_seen_last_on_the_way_out_of_a_zone_does_not_loiter_there() -> None:
    watched = Watched(lines=(), zones=(replace(ZONE, loiter=4.0),))
    watched.walk(410, 590, 19, seconds=0.2)
    watched.empty(20)
    assert watched.types() == ["appear", "enter", "exit", "leave"]


def test_who_comes_after_stray_boxes_is_not_the_one_who_left_before() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(400, 520, 12, seconds=0.2)
    watched.empty(5)
    watched.frame(box(560))
    watched.frame(seconds=0.3)
    watched.frame(box(500), seconds=0.2)
    watched.frame(seconds=0.2)
    watched.frame(seconds=0.2)
    for x in (600, 610, 620, 630, 640):
        watched.frame(box(x, 400, size=70), seconds=0.4)
    assert [(told.type, told.number) for told in watched.told] == [("appear", 1), ("leave", 1), ("appear", 2)]


def test_what_three_boxes_on_another_way_had_crossed_is_nothing_where_they_may_be_stray() -> None:
    watched = Watched(zones=())
    for x in (420, 475, 530):  # two stray ones, and whoever stands there from then on
        watched.frame(box(x), seconds=0.2)
    watched.walk(530, 530, 12, seconds=0.2)
    assert watched.types() == ["appear"]
    assert watched.told[0].since is not None
    assert watched.told[0].since.moment == pytest.approx(0.8), "when it was seen where it proved to be"


@pytest.mark.parametrize(("on_the_way", "told"), [(605, ["appear", "enter", "exit"]), (595, ["appear", "enter"])])
def test_who_is_seen_over_a_border_twice_and_no_more_has_gone(on_the_way: float, told: list[str]) -> None:
    watched = Watched(lines=())
    watched.walk(450, 450, 10, seconds=0.2)
    watched.walk(450, 570, 7, seconds=0.2)
    for x in (on_the_way, 640):  # the zone ends at 600, its border with the margin at 612
        watched.frame(box(x), seconds=0.2)
    for _ in range(3):
        watched.frame(seconds=0.2)
    assert watched.types() == told
