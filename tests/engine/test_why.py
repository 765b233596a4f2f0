"""Answers from the records of decisions: what was asked for, and what they cannot tell of."""

from __future__ import annotations

import time

import pytest

from edge_infer.contract.codec import decode, encode, replace
from edge_infer.engine.events.decision_record import Decisions
from edge_infer.engine.events.explain import answer
from edge_infer.ipc.messages import WhyAnswer, WhyQuestion
from edge_infer.plan.records import EventsPlan, PipelinePlan, TrackPlan
from tests.engine.plans import pipeline

PLAN = pipeline()


def record(*walls: float) -> Decisions:
    decisions = Decisions()
    for wall in walls:
        decisions.note(wall, "cat", 0.4, "below", "below the threshold of 0.5")
    return decisions


def test_only_what_was_decided_then_is_told_in_order() -> None:
    now = time.time()
    records = {"yard": (PLAN, record(now + 10, now + 50)), "door": (PLAN, record(now + 20, now + 90))}
    told = answer(WhyQuestion(now + 5, now + 60), records)
    assert [line.partition(":")[0] for line in told.lines] == ["yard", "door", "yard"]
    assert told.lines[0].endswith("cat 0.40: below the threshold of 0.5")
    assert told.notes == ()
    assert len(answer(WhyQuestion(now + 5, now + 60, "door"), records).lines) == 1
    assert answer(WhyQuestion(now + 51, now + 60), records).lines == ()


def test_what_the_record_does_not_reach_back_to_is_said() -> None:
    now = time.time()
    told = answer(WhyQuestion(now - 3600, now), {"yard": (PLAN, record())})
    assert told.lines == ()
    assert told.notes[0].startswith("yard: there is no record of decisions before ")


def test_a_pipeline_or_label_that_is_not_there_is_named() -> None:
    now = time.time()
    assert answer(WhyQuestion(now, now, "yrd"), {"yard": (PLAN, record())}).error == (
        "there is no pipeline 'yrd'; did you mean \"yard\"?"
    )
    assert (
        "has no label 'cta'; did you mean \"cat\"?"
        in answer(WhyQuestion(now + 1, now + 1, None, "cta"), {"yard": (PLAN, record())}).notes[0]
    )


@pytest.mark.parametrize(
    ("plan", "note"),
    [
        (PLAN, "no events without track: true, and findings below the threshold of 0.5 are not recorded"),
        (pipeline(track=TrackPlan()), "no events with events: false, and findings below the threshold of 0.5"),
        (pipeline("classification"), "no events with events: false, and findings"),
        (pipeline("anomaly", ()), "no events with events: false"),
        (pipeline("regression", ()), "there are no events of this task"),
    ],
)
def test_a_pipeline_without_events_says_so_once_it_has_nothing_else_to_say(plan: PipelinePlan, note: str) -> None:
    now = time.time()
    question = WhyQuestion(now + 1, now + 60)
    (said,) = answer(question, {"yard": (plan, record())}).notes
    assert note in said
    assert answer(question, {"yard": (plan, record(now + 2))}).notes == ()
    assert note in answer(replace(question, pipeline="yard"), {"yard": (plan, record(now + 2))}).notes[0]
    assert answer(question, {"yard": (replace(plan, events=EventsPlan()), record())}).notes == ()


def test_a_pipeline_with_events_says_when_its_results_are_held_back() -> None:
    now = time.time()
    question = WhyQuestion(now + 1, now + 60, "yard")
    plan = replace(PLAN, events=EventsPlan(), track=TrackPlan(), publish="change")
    (said,) = answer(question, {"yard": (plan, record(now + 2))}).notes
    assert said == (
        "yard: these are events; a frame changes the state and causes no result while publish is change, and labels "
        "and "
        f"counts are as in the last one, or that one is less than 1 s old; heartbeat is {plan.heartbeat:g} s"
    )
    assert answer(question, {"yard": (replace(plan, publish="every"), record(now + 2))}).notes == ()


def test_a_decision_of_another_day_has_its_date() -> None:
    found = record(1_700_000_000.0).between(0.0)[0].sentence()
    assert found.startswith("2023-11-1")


def test_an_answer_fits_its_record_however_long_the_names_are() -> None:
    """The supervisor kills an engine whose record it cannot read."""
    records = {f"warehouse-north-dock-door-{number:02}": (PLAN, record()) for number in range(20)}
    for name in ("frontdor", 64 * "\U000e0001"):
        told = answer(WhyQuestion(0.0, 1.0, name), records)
        assert decode(WhyAnswer, encode(told)) == told
        assert told.error.startswith("there is no pipeline ")
