"""Why something was not told, in sentences with numbers."""

from __future__ import annotations

from dataclasses import replace

from edge_infer.config.plan import EventsPlan
from edge_infer.engine.analyse.decisions import MOST, Decisions
from tests.engine.analyse.moments import ZONE, Watched, box


def sentences(watched: Watched) -> str:
    return "\n".join(each.sentence() for each in watched.follow.decisions.since(0.0))


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
    assert "#3 drive: it was not inside long enough" in said


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
    assert len(decisions.since(0.0)) == MOST
    assert {each.label for each in decisions.since(0.0, "cat")} == {"cat"}
    assert len(decisions.since(20.0 * MOST - 100)) == 10
