"""Why something was not told, in sentences with numbers."""

from __future__ import annotations

import re

from edge_infer.contract.codec import replace
from edge_infer.engine.events.decision_record import MOST, STILL, Decisions
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import EventsPlan
from tests.engine.analyse.moments import LINE, NOW, ZONE, Watched, box
from tests.engine.plans import pipeline


def sentences(watched: Watched) -> str:
    return "\n".join(each.sentence() for each in watched.follow.decisions.between(0.0))


def test_every_stage_says_what_stopped_it() -> None:
    watched = Watched(zones=(ZONE, replace(ZONE, name="dogs", labels=("dog",))), events=EventsPlan(min_duration=1.0))
    for _ in range(5):
        watched.frame(box(100, score=0.45))
    watched.frame(box(100))
    watched.empty(15)
    watched.walk(800, 820, 6)
    watched.empty(15)
    watched.walk(450, 470, 40)
    watched.empty(15)
    watched.walk(800, 820, 30)
    watched.empty(15)
    said = sentences(watched)
    assert "cat 0.45, 5 times in 1 s: below the threshold of 0.5" in said
    assert "not confirmed: seen in 1 of" in said
    assert "#1 was too short: seen in 6 frames over 0.5 s" in said
    assert "#2 enter drive: told" in said
    assert "#2 dogs: the zone is for dog" in said
    assert "#3 drive: it was outside; its lower edge came no nearer than 208 pixels" in said


def test_what_was_not_looked_at_may_have_been_anybody() -> None:
    decisions = Decisions()
    for number in range(250):
        decisions.note(1000.0 + number / 10, None, 0.0002, STILL, "at most 0.02% of the picture had changed")
    decisions.note(1025.0, "cat", 0.4, "below", "below the threshold of 0.5")
    said = [each.sentence().partition(" no ")[2] for each in decisions.between(0.0, label="dog")]
    assert said == ["motion, 250 times in 25 s: at most 0.02% of the picture had changed"]
    assert len(decisions.between(0.0, label="cat")) == 2


def test_limits_say_what_they_held_back() -> None:
    watched = Watched(events=EventsPlan(most=2.0), zones=(), lines=())
    watched.walk(100, 120, 20)
    watched.empty(15)
    assert "appear: held back by the limit: more than 2 events a minute" in sentences(watched)
    assert watched.told == []
    assert watched.follow.held_back == 1


def test_it_is_bounded_and_chosen_from() -> None:
    decisions = Decisions()
    for number in range(2 * MOST):
        decisions.note(float(10 * number), "cat" if number % 2 else "dog", 0.3, "below", "below")
    assert len(decisions.between(0.0)) == MOST
    assert {each.label for each in decisions.between(0.0, label="cat")} == {"cat"}
    assert len(decisions.between(20.0 * MOST - 100)) == 10
    assert decisions.begins == 10.0 * (MOST - 1), "what is forgotten is known"
    assert len(decisions.between(20.0 * MOST - 100, 20.0 * MOST - 60)) == 5


def test_a_zone_says_by_how_much_it_was_missed() -> None:
    watched = Watched(lines=())
    watched.walk(300, 390, 20)  # the border is at 400
    watched.empty(15)
    watched.walk(300, 405, 40)
    watched.walk(405, 300, 40)
    watched.empty(15)
    watched.walk(300, 430, 8)
    watched.walk(425, 300, 8)
    watched.empty(15)
    said = sentences(watched)
    assert watched.types() == ["appear", "leave"] * 3
    assert "#1 drive: it was outside; its lower edge came no nearer than 1" in said
    assert re.search(r"#2 drive: its lower edge was no more than [4-7] pixels inside, 12 are needed", said), said
    assert re.search(
        r"#3 drive: it was inside for 0.\d s in \d frames, events.min_duration of 0.5 s and 3 frames", said
    )


def test_a_line_says_why_it_was_not_crossed() -> None:
    watched = Watched(zones=(), lines=(LINE, replace(LINE, name="dogs", labels=("dog",))))
    watched.walk(300, 450, 20)
    watched.empty(15)
    watched.walk(300, 700, 40, y=950)  # below its end, which is at 900
    watched.empty(15)
    watched.walk(100, 200, 20)
    watched.empty(15)
    said = sentences(watched)
    assert watched.types() == ["appear", "leave"] * 3
    assert "#1 gate: it stayed on its side and came no nearer than 5" in said
    assert "#2 gate: it passed around the end of the line" in said
    assert "#1 dogs: the line is for dog" in said
    assert "#3" not in said.replace("#3 appear", "")


def test_what_is_there_for_long_is_explained_while_it_is() -> None:
    watched = Watched(lines=())
    watched.walk(300, 300, 700)
    said = sentences(watched)
    assert said.count("#1 drive: it was outside; its lower edge came no nearer than 100 pixels") == 2


def test_the_mask_is_named_where_it_may_have_mattered() -> None:
    mask = (((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)),)
    watched = Watched(zones=(), lines=(), mask=mask)
    watched.walk(300, 590, 30)
    watched.empty(15)
    for _ in range(5):
        watched.frame(box(600, score=0.45))
    said = sentences(watched)
    lost = re.search(r"#1 was lost at the mask, which covered (\d+)% of its box in its last frame and (\d+)%", said)
    assert lost is not None, said
    assert int(lost[1]) in range(20, 40)
    assert int(lost[2]) == 100
    assert "below the threshold of 0.5 (mask covers 50% of its box)" in said


def test_labels_that_are_not_wanted_are_named() -> None:
    watched = Watched(labels=("cat",), zones=(), lines=())
    now = Instant(0.0, NOW)
    watched.follow(Detections((), (100, 100), left_out=(("dog", 0.83),)), now)
    assert "dog 0.83: left out: labels keeps only cat" in sentences(watched)
    assert [each.label for each in watched.follow.decisions.now(NOW)] == ["dog"]
    assert watched.follow.decisions.now(NOW + 1) == []


def test_a_class_beyond_top_k_is_named() -> None:
    follow = Follow(pipeline("classification", top_k=1, labels=("cat", "dog")), lambda: 1)
    found = ClassificationFindings((Scored("cat", 0, 0.9),), {"dog": 0.8}, (("face", 0.7),))
    follow(found, Instant(0.0, NOW))
    said = "\n".join(each.sentence() for each in follow.decisions.between(0.0))
    assert "dog 0.80: left out of the result: top_k is 1, and as many labels had a higher score" in said
    assert "face 0.70: left out: labels keeps only cat, dog" in said


def test_a_label_among_many_of_each_frame_is_one_entry() -> None:
    decisions = Decisions()
    for frame in range(100):
        for label in range(100):
            decisions.note(1000.0 + frame / 10, f"class {label}", 0.1, "top_k", "left out of the result")
    assert len(decisions.between(0.0)) == 100
    (entry,) = decisions.between(0.0, label="class 7")
    assert (entry.count, entry.begin, entry.end) == (100, 1000.0, 1009.9)
    assert len(decisions.now(1009.9)) == 100
    assert decisions.begins > 1009.9, "nothing of the recorded period was forgotten"


def test_an_entry_that_was_forgotten_is_not_continued() -> None:
    decisions = Decisions(most=2)
    for label in ("cat", "dog", "cow"):
        decisions.note(1000.0, label, 0.1, "below", "below the threshold")
    decisions.note(1000.5, "cat", 0.1, "below", "below the threshold")
    assert [(each.label, each.count) for each in decisions.between(0.0)] == [("cow", 1), ("cat", 1)]
