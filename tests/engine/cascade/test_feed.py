"""From the parent's step to its cascades: nobody waits, nothing is mixed up, pixels stay what they were."""

from __future__ import annotations

import threading

import numpy as np

from edge_infer.engine.cascade.parent import STATES, Cascade, CropsFeed
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Region
from edge_infer.plan.records import SourcePlan
from tests.engine.cascade.sightings import seen

PLAN = SourcePlan("crops", "crops", "", False, False, {}, noisy=False, parent="people")


def joined() -> tuple[Cascade, CropsFeed]:
    cascade, feed = Cascade("people"), CropsFeed(PLAN)
    cascade.join([feed])
    return cascade, feed


def frame(number: int, region: Region | None = None) -> Frame:
    return Frame(np.full((48, 64, 3), number, np.uint8), "bgr", number, number, number, region)


def found(*numbers: int | None, scores: tuple[float, ...] = ()) -> Detections:
    objects = tuple(
        Detection("person", 0, scores[at] if scores else 0.9, (8.0, 8.0, 24.0, 24.0), number=number)
        for at, number in enumerate(numbers)
    )
    return Detections(objects, (64, 48))


def test_a_frame_comes_with_all_that_was_found_in_it_the_best_first() -> None:
    cascade, feed = joined()
    cursor, picture = feed.attach(), frame(1)
    followed = Followed(found(3, None, 4, scores=(0.5, 0.9, 0.7)), (), (), (), frozenset({3, 4, 9}))
    cascade.saw(picture, followed, 17)
    assert feed.next(cursor, 0.0) is None  # not before all of it has been looked at
    cascade.hand_on(picture)
    shown = feed.next(cursor, 0.0)
    assert isinstance(shown, Frame)
    assert shown.sighting is not None
    assert [(each.id, each.seq) for each in shown.sighting.objects] == [(4, 17), (3, 17)]  # who has no id may be nobody
    assert shown.sighting.present == {3, 4, 9}
    assert shown.pixels is picture.pixels


def test_who_is_slow_gets_the_newest_and_the_others_count_as_dropped() -> None:
    cascade, feed = joined()
    cursor = feed.attach()
    for number in range(1, 6):
        cascade.saw(frame(number), found(number), number)
        cascade.hand_on(frame(number))
    shown = feed.next(cursor, 0.0)
    assert isinstance(shown, Frame)
    assert shown.number == 5
    assert cursor.dropped == 4
    assert feed.next(cursor, 0.0) is None


def test_the_parent_does_not_wait_for_anybody() -> None:
    cascade, feed = joined()
    feed.attach()
    done = threading.Event()

    def parent() -> None:
        for number in range(1, 200):
            cascade.saw(frame(number), found(1), None)
            cascade.hand_on(frame(number))
        done.set()

    threading.Thread(target=parent, daemon=True).start()
    assert done.wait(20)


def test_a_frame_that_borrows_its_pixels_is_copied() -> None:
    cascade, feed = joined()
    slot = np.zeros((2, 48, 64, 3), np.uint8)
    borrowed = Frame(slot[1], "bgr", 0.0, 0.0, 1)
    cascade.saw(borrowed, found(1), None)
    cascade.hand_on(borrowed)
    slot[1] = 255  # the reader has written the next frame there
    shown = feed.newest()
    assert isinstance(shown, Frame)
    assert not shown.pixels.any()


def test_parts_of_a_frame_are_handed_on_together() -> None:
    """A cascade of a cascade: each crop was looked at by itself."""
    cascade, feed = joined()
    whole = frame(1)
    for number in (5, 6):
        crop = Frame(whole.pixels, "bgr", 1.0, 1.0, 1, Region(0, 0, 9, 9), parent=seen(number))
        face = Detection("face", 0, 0.8, (1.0, 1.0, 5.0, 5.0), parent=number)
        cascade.saw(crop, Detections((face, face), (64, 48)), number)
    cascade.hand_on(whole)
    shown = feed.newest()
    assert isinstance(shown, Frame)
    assert shown.sighting is not None
    assert sorted(each.key for each in shown.sighting.objects) == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert shown.region is shown.parent is None


def test_the_reason_of_the_parent_is_that_of_its_cascades() -> None:
    cascade, feed = joined()
    assert feed.blocked() == "starting"
    for reason, state in STATES.items():
        if reason is not None:
            cascade.silent(reason)
            assert feed.blocked() == reason
            health = feed.health()
            assert (health.state, health.error) == (state, f"pipeline people: {reason.replace('_', ' ')}")
    cascade.hand_on(frame(1))
    assert feed.blocked() is None
    assert feed.health().state == "ok"


def test_who_joins_while_nothing_can_be_said_hears_why() -> None:
    cascade = Cascade("people")
    cascade.silent("engine_failed")
    early, late = CropsFeed(PLAN), CropsFeed(PLAN)
    cascade.join([early])
    assert early.blocked() == "engine_failed"
    cascade.hand_on(frame(1))
    cascade.join([early, late])
    assert (early.blocked(), late.blocked()) == (None, "starting")


def test_a_moment_of_silence_is_not_missed() -> None:
    cascade, feed = joined()
    cascade.hand_on(frame(1))
    cursor = feed.attach()
    cascade.hand_on(frame(2))
    assert cursor.unheard is None
    cascade.silent("model_changed")
    cascade.hand_on(frame(3))
    cascade.hand_on(frame(4))
    assert feed.next(cursor, 0.0) is not None
    assert cursor.unheard == "model_changed"


def test_a_model_that_finds_no_boxes_in_the_place_of_the_detector() -> None:
    cascade, feed = joined()
    cascade.saw(frame(1), ClassificationFindings(()), None)
    cascade.hand_on(frame(1))
    assert feed.blocked() == "model_changed"
    cascade.saw(frame(2), found(1), None)
    cascade.hand_on(frame(2))
    assert feed.blocked() is None


def test_what_was_seen_before_a_fault_is_not_told_with_the_next_frame() -> None:
    cascade, feed = joined()
    cascade.saw(frame(1), found(1), None)
    cascade.silent("engine_failed")
    cascade.hand_on(frame(2))
    shown = feed.newest()
    assert isinstance(shown, Frame)
    assert shown.sighting is not None
    assert shown.sighting.objects == ()
