"""Whatever a detector says: what begins ends once, nothing is less than nothing, occupancy is enters less exits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_infer.engine.events.decision_record import Decisions
from edge_infer.engine.events.event_ledger import ENDS, EventLedger, Happening
from edge_infer.engine.events.spells import Spells
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import EventsPlan, TrackPlan
from tests.engine.analyse.moments import NOW, Watched, box

BEGINS = {end: begin for begin, end in ENDS.items()}
COORDINATES = st.floats(0, 1000).map(lambda value: round(value, 1))
BOXES = st.builds(box, COORDINATES, COORDINATES, st.sampled_from(("cat", "dog")), st.floats(0.3, 1), st.floats(20, 300))
WALKS = st.tuples(COORDINATES, COORDINATES, st.integers(1, 12), st.floats(0.01, 2.0))
STEPS = st.one_of(
    st.tuples(st.just("frame"), st.lists(BOXES, max_size=4), st.floats(0.0, 3.0)),
    st.tuples(st.just("walk"), WALKS, st.just(0.0)),
    st.tuples(st.just("end"), st.just([]), st.just(0.0)),
)


def balance(told: list[Happening]) -> Counter[tuple[Any, ...]]:
    """Begins less ends by what they are of; each is 0 or 1 at any time."""
    found: Counter[tuple[Any, ...]] = Counter()
    for each in told:
        begin = BEGINS.get(each.type, each.type)
        if begin in ENDS:
            key = (begin, each.number if begin != "start" else each.label, each.zone)
            found[key] += -1 if each.type in BEGINS else 1
            assert found[key] in (0, 1), each
    return +found


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40), st.sampled_from((6000.0, 4.0)), st.sampled_from((0.0, 3.0)))
def test_objects(steps: list[Any], most: float, interval: float) -> None:
    watched = Watched(events=EventsPlan(min_duration=0.2, most=most, min_interval=interval), track=TrackPlan(lost=0.5))
    for kind, what, seconds in steps:
        if kind == "frame":
            watched.frame(*what, seconds=seconds)
        elif kind == "walk":
            watched.walk(*what[:3], seconds=what[3])
        else:
            watched.told += watched.follow.end("source_lost", Instant(watched.at, NOW))
        counted = Counter(each.type for each in watched.told if each.zone)
        if watched.last is not None and kind != "end":
            assert all(count > 0 for _, count in watched.last.counts)
            inside = sum(count for _, labels in watched.last.zones for _, count in labels)
            assert inside >= counted["enter"] - counted["exit"] >= 0
            if most > 1000 and not interval:
                assert inside == counted["enter"] - counted["exit"]
    watched.told += watched.follow.end("stopped", Instant(watched.at, NOW))
    assert not balance(watched.told)


@pytest.mark.parametrize("covers", [0.98, 0.3])
def test_a_window_of_a_signal_counts_with_its_length(covers: float) -> None:
    ledger = EventLedger(EventsPlan(), Decisions())
    spells = Spells(EventsPlan(), ledger, 0.6, 0.5)
    told = [each for step in range(3) for each in spells({"yes": 0.99}, Instant(6 + 0.3 * step, NOW), covers)]
    (begun,) = told
    assert begun.when.moment == pytest.approx(6 if covers >= EventsPlan().min_duration else 6.3)
    assert begun.since is not None
    assert begun.since.moment == pytest.approx(6 - covers)


def test_an_end_has_the_best_score_whatever_the_reason() -> None:
    ledger = EventLedger(EventsPlan(), Decisions())
    spells = Spells(EventsPlan(), ledger, 0.6, 0.5)
    for step, score in enumerate((0.7, 0.7, 0.95, 0.8)):
        spells({"yes": score}, Instant(step, NOW + step))
    (ended,) = ledger.end_all("stopped", Instant(4, NOW + 4))
    assert (ended.type, ended.score, ended.reason) == ("end", 0.95, "stopped")


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1)), st.floats(0, 2)), max_size=40))
def test_classes(frames: list[tuple[dict[str | None, float], float]]) -> None:
    plan = EventsPlan()
    ledger, told, at = EventLedger(plan, Decisions()), list[Happening](), 0.0
    spells = Spells(plan, ledger, 0.6, 0.5)
    for scores, seconds in frames:
        at += seconds
        told += spells(scores, Instant(at, NOW + at))
        balance(told)
    told += ledger.end_all("stopped", Instant(at, NOW + at))
    assert not balance(told)
    assert all(each.since is not None and each.since.moment <= each.when.moment for each in told)
