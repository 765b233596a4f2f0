"""What is told of growth is counted of what really runs; that it grows, or does not, is all that is looked at here."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from edge_infer.contract.codec import replace
from edge_infer.plan.records import EventsPlan, TrackPlan


@pytest.fixture
def growth(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("growth")


def test_boxes_cost_in_both_rooms(growth: ModuleType) -> None:
    plan = growth._plan()
    none, five = growth._told(plan, 0), growth._told(plan, 5)
    assert growth._told(replace(plan, track=TrackPlan(), events=EventsPlan()), 5)[0] > five[0], "following is not free"
    assert all(100 < least < more for least, more in zip(none, five, strict=True))


def test_what_waits_does_not_make_the_next_message_dearer(growth: ModuleType) -> None:
    assert growth._kept(600) == pytest.approx(growth._kept(0), rel=0.2)


def test_a_second_pipeline_costs_as_much_as_the_first(growth: ModuleType) -> None:
    assert growth._turns(2) == pytest.approx(growth._turns(1), rel=0.2)


def test_every_step_with_pixels_is_timed(growth: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SIZES", ((320, 240),))
    monkeypatch.setattr(growth, "TURNS", 2)
    _, row = growth.by_size()
    assert row[0] == "320x240"
    assert all(float(share) > 0 for share in row[1:])
