"""The governor by itself: when it takes a step, in whose favour, and that it always comes back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.plan.device_limits import GOVERNOR_STEPS, MAX_RATE
from edge_infer.plan.records import GovernorPlan
from edge_infer.supervisor.governor.governor import FrameRateGovernor, Tempo
from edge_infer.supervisor.governor.governor_loop import SLOWEST, WINDOW, Rates, _measured
from edge_infer.supervisor.governor.sensors import BoardCondition
from tests.publisher.samples import engine_report, mqtt_plan, plan

SHED = ("yard", "door", "hall")
TEMPO = Tempo()
COOL = BoardCondition(40.0, 0.1)


def hot(degrees: float) -> BoardCondition:
    return BoardCondition(degrees, 0.1)


@dataclass
class Watch:
    """A governor with so many steps to take, on a clock that the test turns."""

    plan: GovernorPlan = field(default_factory=lambda: GovernorPlan(80.0, 0.9, SHED))
    most: int = 9
    now: float = 0.0

    def __post_init__(self) -> None:
        self.governor = FrameRateGovernor(self.plan, TEMPO, self.now)

    def pass_(self, seconds: float, condition: BoardCondition) -> int:
        """Looks again and again while the board stays so; the depth at the end."""
        for _ in range(round(seconds / TEMPO.look)):
            self.now += TEMPO.look
            self.governor.step(condition, self.most, self.now)
        return self.governor.depth


def test_it_begins_before_the_limit_and_goes_on_while_that_does_not_help() -> None:
    watch = Watch()
    assert watch.pass_(600, hot(74.9)) == 0
    assert watch.pass_(2, hot(75.0)) == 1
    assert watch.governor.reason == "temperature"
    assert watch.pass_(8, hot(77.0)) == 1
    assert watch.pass_(2, hot(77.0)) == 2
    assert watch.pass_(10, hot(76.4)) == 2  # it falls
    assert watch.pass_(10, hot(76.4)) == 3  # and no more
    assert watch.pass_(600, hot(76.4)) == 9


def test_in_between_it_stays() -> None:
    watch = Watch()
    assert watch.pass_(22, hot(79.0)) == 2
    assert watch.pass_(3600, hot(72.0)) == 2


def test_it_comes_back_step_by_step_after_a_while_of_being_well() -> None:
    watch = Watch()
    watch.pass_(32, hot(79.0))
    assert watch.governor.depth == 3
    assert watch.pass_(28, hot(69.9)) == 3
    watch.pass_(2, hot(70.0))  # not yet well
    assert watch.pass_(30, hot(69.9)) == 3
    assert watch.pass_(2, hot(69.9)) == 2
    assert watch.pass_(30, hot(60.0)) == 1
    assert watch.governor.reason == "temperature"
    assert watch.pass_(30, hot(60.0)) == 0
    assert watch.governor.reason is None


def test_who_has_to_go_down_again_waits_longer_up_to_a_limit() -> None:
    watch, waits = Watch(most=1), []
    for _ in range(8):
        watch.pass_(12, hot(79.0))
        assert watch.governor.depth == 1
        begun = watch.now
        while watch.governor.depth:
            watch.pass_(TEMPO.look, COOL)
        waits.append(watch.now - begun - TEMPO.look)
    assert waits == [30, 60, 120, 240, 480, 480, 480, 480]
    watch.pass_(2 * TEMPO.longest, COOL)
    watch.pass_(12, hot(79.0))
    assert watch.pass_(TEMPO.calm + TEMPO.look, COOL) == 0


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (BoardCondition(50.0, 0.1, throttled=True), "throttled"),
        (BoardCondition(50.0, 0.1, undervolted=True), "voltage"),
        (BoardCondition(50.0, 0.9), "load"),
        (BoardCondition(50.0, 0.1, battery=0.2), "battery"),
        (BoardCondition(None, None, throttled=True), "throttled"),
    ],
)
def test_what_else_is_too_much(condition: BoardCondition, reason: str) -> None:
    watch = Watch()
    assert watch.pass_(20, condition) == 2
    assert watch.governor.reason == reason
    assert watch.pass_(3600, COOL) == 0


@pytest.mark.parametrize(
    "condition", [BoardCondition(), BoardCondition(79.0, 0.95), BoardCondition(20.0, 1.0, battery=0.5)]
)
def test_what_is_no_reason(condition: BoardCondition) -> None:
    watch = Watch(GovernorPlan(100.0, None, SHED))
    assert watch.pass_(3600, condition) == 0


def test_a_sensor_that_goes_holds_nobody_back() -> None:
    watch = Watch()
    watch.pass_(60, hot(90.0))
    assert watch.pass_(3600, BoardCondition()) == 0


def rates_of(**usual: float) -> Rates:
    rates = Rates()
    rates.learn(usual, {}, 0.0)
    return rates


def test_halves_down_to_an_eighth_and_to_a_frame_a_second() -> None:
    rates = rates_of(yard=30.0, door=5.0, hall=1.0, idle=0.0, slow=0.02, odd=2.2)
    assert rates.steps("yard") == [15.0, 7.5, 3.75]
    assert rates.steps("door") == [2.5, 1.25]
    assert rates.steps("odd") == [1.1]
    assert rates.steps("hall") == rates.steps("idle") == rates.steps("slow") == rates.steps("nobody") == []
    shed = ("idle", "yard", "door")
    assert rates.most(shed) == 5
    assert [rates.limits(shed, depth) for depth in range(6)] == [
        {},
        {"yard": 15.0},
        {"yard": 7.5},
        {"yard": 3.75},
        {"yard": 3.75, "door": 2.5},
        {"yard": 3.75, "door": 1.25},
    ]


def test_a_rate_that_is_held_back_is_not_taken_for_the_usual_one() -> None:
    rates = rates_of(yard=20.0)
    limits = {"yard": 10.0}
    for second in range(101):
        rates.learn({"yard": 10.0}, limits, float(second))
    assert rates.usual("yard") == 20.0
    rates.learn({"yard": 11.0}, {}, 101.0)  # measured over what was before, too
    rates.learn({"yard": 15.0}, {}, 100.0 + WINDOW - 1)
    assert rates.usual("yard") == 20.0
    rates.learn({"yard": 15.0}, {}, 100.0 + WINDOW)
    assert rates.usual("yard") == 15.0


def test_the_first_rate_is_that_of_few_frames_and_gives_way_to_a_better_one() -> None:
    rates = rates_of(yard=13.5)
    rates.learn({"yard": 9.9}, {}, 2.0)
    assert rates.usual("yard") == 9.9


def test_who_wakes_up_takes_over_what_those_after_it_have_given() -> None:
    rates = rates_of(door=5.0)
    assert rates.limits(SHED, 2) == {"door": 1.25}
    rates.learn({"yard": 8.0, "door": 1.25}, {"door": 1.25}, 10.0)
    assert rates.limits(SHED, 2) == {"yard": 2.0}


def test_an_engine_chooses_few_limits() -> None:
    """They are published: what an engine says of its rate could carry data in 53 bits."""
    made = plan(mqtt_plan(1883))
    report = engine_report()

    def rate(fps: float) -> float:
        health = replace(report.pipelines["door"], fps=fps)
        return _measured(made, replace(report, pipelines={"door": health}))["door"]

    assert (rate(14.97), rate(1.23), rate(4.5e307)) == (15.0, 1.2, MAX_RATE)
    found = {rate(round(float(number), 2)) for number in np.geomspace(1.0, 2 * MAX_RATE, 100_000)}
    assert len(found) == 90 * math.log10(MAX_RATE) + 1


CONDITIONS = st.builds(
    BoardCondition,
    st.none() | st.floats(-50, 200),
    st.none() | st.floats(0, 1),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1),
)
SPEEDS = st.dictionaries(st.sampled_from(SHED), st.floats(0, 200), min_size=1)


def lived(
    moments: list[tuple[float, BoardCondition]], usual: dict[str, float]
) -> Iterator[tuple[dict[str, float], Rates]]:
    """Limits over a life of looks that are so many seconds apart; pipelines do as they are told."""
    governor, rates, limits, now = FrameRateGovernor(GovernorPlan(80.0, 0.9, SHED), TEMPO, 0.0), Rates(), {}, 0.0
    for pause, condition in moments:
        now += pause
        measured = {name: min(rate, limits.get(name, math.inf)) for name, rate in usual.items()}
        rates.learn(measured, limits, now)
        limits = rates.limits(SHED, governor.step(condition, rates.most(SHED), now))
        yield limits, rates


@given(st.lists(st.tuples(st.floats(0, 100), CONDITIONS), max_size=60), SPEEDS)
def test_nobody_is_slowed_down_out_of_turn_or_below_the_floor_and_all_come_back(
    moments: list[tuple[float, BoardCondition]], usual: dict[str, float]
) -> None:
    calm = [(TEMPO.calm, COOL)] * round(9 * (TEMPO.longest / TEMPO.calm + 2))
    before: dict[str, float] = {}
    for limits, rates in lived([*moments, *calm], usual):
        for place, name in enumerate(SHED):
            steps = rates.steps(name)
            if name in limits:
                assert limits[name] in steps
                assert limits[name] >= max(SLOWEST, round(usual[name] / 2**GOVERNOR_STEPS, 2))
                assert all(limits.get(other) == rates.steps(other)[-1] for other in SHED[:place] if rates.steps(other))
        assert sum(limits.get(name) != before.get(name) for name in SHED) <= 1, "one at a time"
        before = limits
    assert before == {}


def test_on_a_board_with_inertia_it_stays_below_the_limit_and_finds_rest() -> None:
    """A board that 60 frames a second would heat to 100 °C, half of it within 40 s; the air has 40 °C."""
    usual = {"yard": 20.0, "door": 20.0, "hall": 20.0}
    governor, rates, limits = FrameRateGovernor(GovernorPlan(80.0, None, SHED), TEMPO, 0.0), Rates(), {}
    temperature, peak, moves, hours = 50.0, 0.0, [], 3
    for look in range(round(hours * 3600 / TEMPO.look)):
        now = look * TEMPO.look
        measured = {name: limits.get(name, rate) for name, rate in usual.items()}
        temperature += (40.0 + sum(measured.values()) - temperature) * (1 - 0.5 ** (TEMPO.look / 40.0))
        peak = max(peak, temperature)
        rates.learn(measured, limits, now)
        after = rates.limits(SHED, governor.step(hot(round(temperature, 1)), rates.most(SHED), now))
        if after != limits:
            moves.append(now)
        limits = after
    assert 75.0 < peak < 80.0
    assert limits
    assert len(moves) < 10
    assert max(moves) < 600.0
