"""Rates are those of captures: a backlog passes at once, and nothing that a configuration does not allow."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.contract.codec import decode_json, dumps, replace
from edge_infer.contract.messages import Event
from edge_infer.errors import WireError
from edge_infer.plan.channel_rates import CHANGES_A_MINUTE, CHANGES_AT_ONCE, Kind, channel_rates
from edge_infer.plan.records import CropsPlan, EventsPlan, Plan, SourcePlan
from edge_infer.plan.switch_time import SWITCH, switch_seconds
from edge_infer.platform import rate_limits
from edge_infer.platform.rate_limits import MessageBudget
from edge_infer.publisher.admission import MAX_LEVELS, MAX_ON_THE_WAY, AdmissionState, BucketLevel, RateAdmission, cost
from edge_infer.publisher.outbox.entry import MessageSeries
from tests.publisher.samples import BOOT, TS, mqtt_plan, plan

RESULTS, EVENTS = MessageSeries("door", BOOT, "result"), MessageSeries("door", BOOT, "event")
OTHER = MessageSeries("door", "ab" * 7, "result")
CAMERA = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})


def configured(source: SourcePlan = CAMERA, **changes: Any) -> Plan:
    made = plan(mqtt_plan(1883))
    keys = {"publish": "every", "track": None, "events": None, **changes}
    return replace(made, sources=(source,), pipelines=(replace(made.pipelines[0], **keys),))


def gate(wanted: Plan, now: float = 1000.0, earlier: AdmissionState | None = None) -> RateAdmission:
    admission = RateAdmission(earlier)
    admission.apply(wanted, now)
    return admission


def burst(wanted: Plan, kind: Kind = "result") -> int:
    return int(channel_rates(wanted, wanted.pipelines[0]).burst(kind))


TWICE_A_SECOND = configured(fps=2.0)
BURST = burst(TWICE_A_SECOND)


def admitted(admission: RateAdmission, times: list[float], series: MessageSeries = RESULTS) -> int:
    return sum(admission.admits(series, seq, at, highest=seq - 1) for seq, at in enumerate(times, 1))


def test_an_honest_engine_at_its_rate_is_never_refused() -> None:
    times = [1000.0 + index / 2 + 0.2 * (index % 3) for index in range(20_000)]
    assert admitted(gate(TWICE_A_SECOND), times) == len(times)


def test_more_captures_than_the_rate_allows_are_refused() -> None:
    times = [1000.0 + index / 1000 for index in range(60_000)]
    assert BURST <= admitted(gate(TWICE_A_SECOND), times) <= 2 * 60 + BURST


@pytest.mark.parametrize(("left", "at"), [(0.0, 1e18), (1e300, 0.0), (-1e300, 1000.0)])
def test_impossible_levels_of_a_compromised_process_last_no_longer_than_the_rate(left: float, at: float) -> None:
    earlier = AdmissionState((BucketLevel("door", "result", left, at),))
    admission = gate(TWICE_A_SECOND, earlier=earlier)
    times = [1000.0 + index / 2 for index in range(2000)]
    assert 1900 <= admitted(admission, times) <= 2000
    flood = gate(TWICE_A_SECOND, earlier=earlier)
    assert admitted(flood, [1000.0] * 20_000) <= MAX_ON_THE_WAY + BURST


def test_what_a_compromised_process_leaves_does_not_grow() -> None:
    levels = tuple(BucketLevel(f"p{number}", "result", 1.0, 0.0) for number in range(MAX_LEVELS))
    state = gate(TWICE_A_SECOND, earlier=AdmissionState(levels)).state()
    assert decode_json(AdmissionState, dumps(state)) == state
    assert len(gate(TWICE_A_SECOND, earlier=state).state().levels) == len(state.levels) == MAX_LEVELS
    with pytest.raises(WireError):
        decode_json(AdmissionState, dumps(AdmissionState((*levels, levels[0]))))


def test_a_backlog_passes_at_once_and_claims_no_time_twice() -> None:
    admission = gate(TWICE_A_SECOND)
    backlog = [1000.0 + index / 2 for index in range(7200)]
    assert admitted(admission, backlog) == len(backlog)
    again = range(7201, 8000)
    assert sum(admission.admits(RESULTS, seq, 1000.0 + seq / 8, highest=0) for seq in again) <= BURST


def test_a_number_that_is_skipped_costs_as_much_as_a_message() -> None:
    admission = gate(TWICE_A_SECOND)
    assert admission.admits(RESULTS, BURST, 1000.0, highest=0)
    assert sum(admission.admits(RESULTS, seq, 1000.1, highest=0) for seq in range(BURST + 1, 999)) == BURST // 2 - 1
    assert not admission.admits(RESULTS, 2**53, 1006.0, highest=0)
    assert admission.admits(RESULTS, 2**53, 1100.0, highest=0)  # for half a bucket


def test_a_gap_in_a_small_bucket_costs_more_than_its_number_can_carry() -> None:
    rare = configured(fps=2.0, events=EventsPlan(most=0.5))
    admission, passed = gate(rare), 0
    for number in range(1, 1000):
        passed += admission.admits(EVENTS, number * 2**40, 1000.0, highest=0)
    assert passed == 1, "the whole bucket"


@pytest.mark.parametrize("wanted", [TWICE_A_SECOND, configured(fps=2.0, events=EventsPlan(most=6.0))])
def test_a_jump_that_was_refused_does_not_make_the_next_number_free(wanted: Plan) -> None:
    """Otherwise each engine that starts could choose one number, and pay for one message."""
    for series in (RESULTS, EVENTS) if wanted.pipelines[0].events else (RESULTS,):
        admission, most = gate(wanted), burst(wanted, series.kind)
        assert sum(admission.admits(series, seq, 1000.0, highest=seq - 1) for seq in range(1, most)) == most - 1
        jump, following = 2**52, series._replace(boot="ab" * 7)
        assert not admission.affords(following, jump, 1000.0, highest=0, cost=1)
        assert not admission.admits(following, jump + 1, 1000.0, highest=jump)
        admission.charge(following, jump + 2, highest=jump + 1)
        assert not admission.admits(following, jump + 3, 1000.0, highest=jump + 2)
        rate = admission._buckets["door", series.kind].rate
        assert rate
        assert admission.admits(following, jump + 4, 1000.0 + most / rate, highest=jump + 3)


@pytest.mark.parametrize("lost", [20, 113, 2000])
def test_an_engine_that_starts_with_dropped_messages_and_an_empty_budget_is_soon_admitted(lost: int) -> None:
    fast = configured(fps=10.0)
    admission = gate(fast)
    assert admitted(admission, [1000.0] * burst(fast)) == burst(fast)
    times = [1000.0 + (lost + index) / 10 for index in range(2000)]
    taken = [admission.admits(OTHER, lost + seq, at, highest=lost + seq - 1) for seq, at in enumerate(times, 1)]
    assert taken.index(True) <= burst(fast) / 2
    assert all(taken[taken.index(True) :])


@pytest.mark.parametrize("lost", [20, 113, 2000])
def test_an_engine_that_had_to_drop_messages_is_not_refused_at_its_rate(lost: int) -> None:
    fast = configured(fps=10.0)
    admission = gate(fast)
    times = [1000.0 + (lost + index) / 10 + 0.02 * (index % 3) for index in range(6000)]
    assert sum(admission.admits(RESULTS, lost + seq, at, highest=0) for seq, at in enumerate(times, 1)) == len(times)


def test_numbers_of_rejected_messages_are_paid_once() -> None:
    fast = configured(fps=10.0)
    admission = gate(fast)
    for seq in range(1, 201):
        assert admission.affords(RESULTS, seq, 1000.0 + seq / 10, highest=0, cost=1)
        admission.charge(RESULTS, seq, highest=0)
    times = [1020.1 + index / 10 + 0.02 * (index % 3) for index in range(6000)]
    assert sum(admission.admits(RESULTS, 200 + seq, at, highest=0) for seq, at in enumerate(times, 1)) == len(times)


def test_what_was_not_acknowledged_passes_again_after_the_death_of_a_publisher() -> None:
    first = gate(TWICE_A_SECOND)
    assert admitted(first, [1000.0] * BURST) == BURST
    first.acked(RESULTS, BURST - 5)
    second = gate(TWICE_A_SECOND, 1002.0, first.state())
    again = [second.admits(RESULTS, seq, 1000.0, highest=0) for seq in range(1, BURST + 20)]
    assert again == [False] * (BURST - 5) + [True] * 5 + [False] * 19
    assert not second.admits(RESULTS, BURST, 1000.0, highest=0), "once"
    assert second.admits(RESULTS, BURST + 1, 1002.0, highest=0), "captured meanwhile"


def test_publishers_that_follow_each_other_give_nothing_anew() -> None:
    admission, passed, seq = gate(TWICE_A_SECOND), 0, 0
    for start in range(50):
        now = 1000.0 + start
        for _ in range(100):
            seq += 1
            passed += admission.admits(RESULTS, seq, now - 0.5, highest=seq - 1)
        admission.acked(RESULTS, seq)
        admission = gate(TWICE_A_SECOND, now + 0.5, admission.state())
    assert BURST < passed <= BURST + 2 * 50


def test_nothing_is_kept_where_no_results_are_published() -> None:
    silent = configured(fps=2.0, publish="off")
    for admission in (gate(silent), gate(silent, 1010.0, gate(silent).state())):
        assert admitted(admission, [900.0] * 5000) == 0
    switched = gate(silent, 1010.0, gate(TWICE_A_SECOND).state())
    assert admitted(switched, [900.0] * 20) == 20, "what is on its way"
    assert admitted(gate(silent, 1011.0, switched.state()), [900.0] * 5000, OTHER) == BURST - 20


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"fps": 30.0}, {"fps": 30.0, "publish": "change"}),
        ({"fps": 30.0}, {"fps": 1.0}),
        ({"fps": 30.0}, {"fps": 30.0, "publish": "off"}),
        ({}, {"publish": "change"}),
        ({"fps": 30.0}, {"fps": 30.0, "threshold": 0.75}),
    ],
)
def test_what_an_engine_makes_by_the_plan_of_before_is_admitted_by_a_new_publisher(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The publisher is away for four seconds, and the engine needs three more to load the model."""
    old = gate(configured(**before))
    seen = [1000.0 + index / 30 for index in range(300)]
    assert admitted(old, seen) == 300
    new = gate(configured(**after), 1014.0, old.state())
    times = [1010.0 + index / 30 for index in range(210)]
    assert sum(new.admits(RESULTS, seq, at, highest=0) for seq, at in enumerate(times, 301)) == 210


def test_a_backlog_of_a_publisher_that_was_away_passes_after_an_edit_that_changes_no_rate() -> None:
    old = gate(configured(fps=30.0))
    assert admitted(old, [1000.0 + index / 30 for index in range(300)]) == 300
    new = gate(configured(fps=30.0, threshold=0.75), 1040.0, old.state())
    times = [1010.0 + index / 30 for index in range(990)]
    assert sum(new.admits(RESULTS, seq, at, highest=0) for seq, at in enumerate(times, 301)) == 990


def test_numbers_that_were_skipped_do_not_come_again() -> None:
    old = gate(TWICE_A_SECOND)
    assert old.admits(RESULTS, 1, 1000.0, highest=0)
    assert old.admits(RESULTS, 1_000_001, 1000.0, highest=0)
    new = gate(TWICE_A_SECOND, 1001.0, old.state())
    again = sum(new.admits(RESULTS, seq, 1000.0, highest=0) for seq in range(2, 5000))
    assert again <= BURST + 2


def test_the_levels_of_removed_pipelines_and_of_new_ones() -> None:
    before = gate(TWICE_A_SECOND)
    assert admitted(before, [1000.0] * 10) == 10
    other = replace(TWICE_A_SECOND, pipelines=(replace(TWICE_A_SECOND.pipelines[0], name="yard"),))
    after = gate(other, 1000.0, before.state())
    assert admitted(after, [1000.0] * 5000, RESULTS._replace(pipeline="yard")) == BURST
    assert sum(after.admits(RESULTS, seq, 1000.0, highest=seq - 1) for seq in range(11, 500)) == BURST - 10


def test_before_the_first_publisher_no_engine_has_kept_anything() -> None:
    assert admitted(gate(TWICE_A_SECOND), [900.0] * 5000) == BURST


def test_a_change_of_the_plan_still_admits_what_is_on_its_way() -> None:
    fast = configured(fps=10.0)
    admission = gate(fast)
    admission.apply(configured(fps=10.0, publish="off"), 1000.0)
    assert admitted(admission, [1000.0] * 5000) == burst(fast)


def two_pipelines(**changes: Any) -> Plan:
    door = TWICE_A_SECOND.pipelines[0]
    return replace(TWICE_A_SECOND, pipelines=(replace(door, **changes), replace(door, name="yard")))


def test_a_plan_adds_nothing_to_the_pipelines_that_it_leaves_as_they_are() -> None:
    """An engine causes plans: it crashes, and a pipeline is held back and tried again."""
    admission, passed = gate(two_pipelines()), {"door": 0, "yard": 0}
    for life in range(100):
        for pipeline in passed:
            series = MessageSeries(pipeline, f"{life:014x}", "result")
            passed[pipeline] += admitted(admission, [1000.0 + life] * 200, series)
        admission.apply(two_pipelines(), 1000.0 + life)
    assert all(BURST < count <= BURST + 2 * 100 for count in passed.values())
    admission.apply(two_pipelines(threshold=0.75), 1099.0)
    series = RESULTS._replace(boot="ab" * 8), RESULTS._replace(boot="ab" * 8, pipeline="yard")
    assert admitted(admission, [1099.0] * 200, series[0]) == BURST, "the engine makes it anew"
    assert admitted(admission, [1099.0] * 200, series[1]) == 0


def test_a_plan_that_comes_with_a_new_publisher_adds_what_it_adds_without_one() -> None:
    """An edit of the pipelines and of `mqtt` makes the engine start them anew, and replaces the publisher."""
    before = gate(two_pipelines())
    assert admitted(before, [1000.0] * 200) == BURST
    edited = two_pipelines(threshold=0.75)
    after = gate(edited, 1000.0, before.state())
    series = RESULTS._replace(boot="ab" * 8)
    assert admitted(after, [1000.0] * 200, series) == BURST
    again = gate(edited, 1000.0, after.state())
    assert admitted(again, [1000.0] * 200, RESULTS._replace(boot="cd" * 8)) == 0, "the plan is the same"
    paused = RateAdmission(again.state())
    paused.apply(edited, 1000.0, ["door"])
    resumed = gate(edited, 1000.0, paused.state())
    assert admitted(resumed, [1000.0] * 200, RESULTS._replace(boot="ef" * 8)) == BURST


def test_a_backlog_still_passes_after_a_plan_that_changes_nothing() -> None:
    admission = gate(TWICE_A_SECOND)
    admission.apply(TWICE_A_SECOND, 4600.0)
    backlog = [1000.0 + index / 2 for index in range(7200)]
    assert admitted(admission, backlog) == len(backlog)


def test_a_pipeline_that_was_paused_starts_with_full_limits_as_it_does_in_the_engine() -> None:
    admission = gate(TWICE_A_SECOND)
    assert admitted(admission, [1000.0] * 200) == BURST
    admission.apply(TWICE_A_SECOND, 1000.0, ["door"])
    assert sum(admission.admits(RESULTS, seq, 1000.0, highest=seq - 1) for seq in range(BURST + 1, 200)) == 0
    admission.apply(TWICE_A_SECOND, 1000.0)
    assert sum(admission.admits(RESULTS, seq, 1000.0, highest=seq - 1) for seq in range(BURST + 1, 200)) == BURST


def test_a_pipeline_that_was_held_back_again_and_again_gets_no_more_than_its_rate() -> None:
    admission, passed = gate(TWICE_A_SECOND), 0
    for life in range(50):
        at = 1000.0 + 60 * life
        passed += admitted(admission, [at] * 500, RESULTS._replace(boot=f"{life:014x}"))
        admission.apply(TWICE_A_SECOND, at, ["door"])
        admission.apply(TWICE_A_SECOND, at + 60)
    assert passed == 50 * BURST < 50 * 60 * 2


def test_what_is_on_its_way_from_a_removed_pipeline_is_admitted_and_no_more() -> None:
    admission = gate(TWICE_A_SECOND)
    removed = replace(TWICE_A_SECOND, pipelines=())
    admission.apply(removed, 1000.0)
    assert admitted(admission, [1000.0] * 500) == BURST
    switched = 1000.0 + switch_seconds(TWICE_A_SECOND, removed)
    admission.settle(switched)
    assert sum(admission.admits(RESULTS, seq, switched + seq, highest=seq - 1) for seq in range(501, 5000)) == 0


def test_states_of_a_pipeline_that_only_the_plan_before_has_are_limited() -> None:
    second = RateAdmission(AdmissionState())
    second.know(TWICE_A_SECOND, 1000.0)
    removed = replace(TWICE_A_SECOND, pipelines=())
    second.apply(removed, 1001.0)
    passed = sum(second.wait("door", 1001.0 + step / 100) == 0.0 for step in range(1000))
    assert 15 <= passed <= 2 * 10 + 1
    second.settle(1001.0 + switch_seconds(TWICE_A_SECOND, removed))
    assert second.wait("door", 1020.0)


SLOWER = [
    configured(fps=1.0),
    configured(fps=10.0, publish="interval", interval=5.0),
    configured(fps=10.0, publish="off"),
    replace(TWICE_A_SECOND, pipelines=()),
]


@pytest.mark.parametrize("wanted", SLOWER)
@pytest.mark.parametrize("killed", [False, True])
def test_while_a_model_loads_the_engine_may_go_on_at_the_rate_of_the_plan_before(wanted: Plan, killed: bool) -> None:
    before, seconds = configured(fps=10.0), switch_seconds(configured(fps=10.0), wanted)
    rates = [channel_rates(wanted, pipeline) for pipeline in wanted.pipelines]
    admission, last = gate(before), 201 + int(10 * seconds)
    times = [1000.0 + index / 10 for index in range(2000)]
    assert admitted(admission, times[:200]) == 200
    admission.apply(wanted, 1020.0)
    if killed:
        admission = RateAdmission(admission.state())
        admission.know(before, 1020.0)
        admission.apply(wanted, 1021.0)
    admission.apply(wanted, 1022.0)
    admission.settle(1020.0 + seconds - 0.1)
    for seq in range(201, last):
        assert admission.admits(RESULTS, seq, times[seq - 1], highest=seq - 1)
    admission.settle(1021.0 + seconds)
    faster = [(seq, 1021.0 + seconds + (seq - last) / 10) for seq in range(last, last + 9000)]
    passed = sum(admission.admits(RESULTS, seq, at, highest=seq - 1) for seq, at in faster)
    assert passed <= sum(each.burst("result") + (each.results or 0.0) * 901 for each in rates)


def test_a_publisher_that_starts_after_the_switch_does_not_know_the_rate_of_the_plan_before() -> None:
    before = configured(fps=10.0)
    first = gate(before)
    assert admitted(first, [1000.0] * 500) == burst(before)
    first.apply(TWICE_A_SECOND, 1000.0)
    first.settle(1100.0)
    second = RateAdmission(first.state())
    second.know(before, 1000.0)
    second.apply(TWICE_A_SECOND, 1100.0)
    times = [1100.0 + index / 10 for index in range(600)]
    assert sum(second.admits(RESULTS, seq, at, highest=seq - 1) for seq, at in enumerate(times, 501)) <= 2 * 160 + BURST


def test_events_that_come_again_cost_as_much_as_the_first_time() -> None:
    """Two end events cannot come again as begin events, whose ends cost nothing: each publisher would double them."""
    admission = gate(configured(fps=2.0, events=EventsPlan(most=6.0)))
    begun, number, sums = 0, 0, []
    for _ in range(6):
        passed = 0
        for again in range(1, number + 1):
            if admission.admits(EVENTS, again, 1000.0, highest=0, cost=2):
                begun, passed = begun + 1, passed + 1
        while number < 500 and admission.admits(EVENTS, number + 1, 1000.0, highest=number, cost=0 if begun else 2):
            number, passed = number + 1, passed + 1
            begun += -1 if begun else 1
        sums.append(passed)
        admission = gate(configured(fps=2.0, events=EventsPlan(most=6.0)), 1000.0, admission.state())
    assert max(sums[1:]) <= 2 * sums[0]
    assert sums[-1] <= sums[1]


def test_what_a_removed_pipeline_made_while_no_publisher_ran_is_admitted() -> None:
    before, removed = configured(fps=10.0), replace(configured(fps=10.0), pipelines=())
    admission = gate(before)
    most = burst(before) - 10
    assert admitted(admission, [1000.0] * most) == most, "the bucket is nearly empty"
    admission.apply(removed, 1000.0)
    for died in (1000.5, 1004.0):
        admission = RateAdmission(admission.state())
        admission.know(before, 1000.0)
        admission.apply(removed, died + 2.0)
    times = enumerate((1000.1 + index / 10 for index in range(60)), most + 1)
    assert sum(admission.admits(RESULTS, seq, at, highest=seq - 1) for seq, at in times) == 60


def test_what_safe_events_cost_pays_for_no_other_event() -> None:
    wanted = configured(fps=2.0, events=EventsPlan(most=20.0))
    admission = gate(wanted)
    for seq in range(1, 11):
        assert admission.admits(EVENTS, seq, 1000.0, highest=seq - 1, cost=2 if seq <= 5 else 0)
    admission.acked(EVENTS, 5)
    (noted,) = admission.state().unacknowledged
    assert (noted.count, noted.tokens) == (5, 0)
    assert admission.admits(EVENTS, 11, 1000.0, highest=10, cost=burst(wanted, "event") - 10)
    following = gate(wanted, 1000.0, admission.state())
    following.acked(EVENTS, 7)
    assert sum(following.admits(EVENTS, seq, 1000.0, highest=0, cost=0) for seq in range(6, 11)) == 5, "once more"
    assert not following.admits(EVENTS, 12, 1000.0, highest=11, cost=2)


def test_a_publisher_continues_from_the_note_of_an_older_version() -> None:
    first = gate(TWICE_A_SECOND)
    assert admitted(first, [1000.0] * BURST) == BURST
    noted = decode_json(AdmissionState, dumps(first.state()).replace(b',"tokens":%d' % BURST, b""))
    assert noted.unacknowledged[0].tokens is None
    second = gate(TWICE_A_SECOND, 1002.0, noted)
    assert admitted(second, [1000.0] * BURST) == BURST


UNLIMITED = configured(fps=None)
AFTER_UNLIMITED = [TWICE_A_SECOND, configured(fps=2.0, publish="off"), replace(UNLIMITED, pipelines=())]


@pytest.mark.parametrize("wanted", AFTER_UNLIMITED)
def test_what_a_plan_without_a_limit_leaves_is_admitted_until_the_engine_has_switched(wanted: Plan) -> None:
    admission, most = gate(UNLIMITED), burst(wanted) if wanted.pipelines else 0
    admission.apply(wanted, 1000.0)
    switched = 1000.0 + switch_seconds(UNLIMITED, wanted)
    admission.settle(switched - 0.1)
    assert admitted(admission, [990.0 + n / 200 for n in range(4000)]) == 4000, "1 MiB of copies, and what follows"
    admission.settle(switched)
    assert sum(admission.admits(RESULTS, seq, 999.0, highest=0) for seq in range(4001, 20_000)) == most


def test_until_then_it_has_a_limit_too() -> None:
    admission = gate(UNLIMITED)
    admission.apply(TWICE_A_SECOND, 1000.0)
    assert admitted(admission, [1000.0] * 20_000) == MAX_ON_THE_WAY + BURST


def test_states_of_a_plan_without_a_limit_end_with_the_switch_as_well() -> None:
    admission = gate(UNLIMITED)
    admission.apply(TWICE_A_SECOND, 1000.0)
    now = 1000.0 + switch_seconds(UNLIMITED, TWICE_A_SECOND)
    admission.settle(now)
    assert sum(admission.wait("door", now) == 0.0 for _ in range(500)) == burst(TWICE_A_SECOND, "state")


@pytest.mark.parametrize("wanted", AFTER_UNLIMITED)
def test_a_new_publisher_admits_what_waited_for_it_and_no_more_after_the_switch(wanted: Plan) -> None:
    """The first one is killed right after the new plan, and the next one starts after the engine has switched."""
    first, most = gate(UNLIMITED), burst(wanted) if wanted.pipelines else 0
    first.apply(wanted, 1000.0)
    late = 1000.0 + 2 * switch_seconds(UNLIMITED, wanted)
    second = RateAdmission(first.state())
    second.know(UNLIMITED)
    second.apply(wanted, late)
    second.settle(late + 1)
    assert admitted(second, [990.0 + n / 200 for n in range(4000)]) == 4000
    second.settle(late + switch_seconds(UNLIMITED, wanted))
    assert all(level.left <= most for level in second.state().levels if level.kind == "result")
    third = gate(wanted, late + 3600.0, second.state())
    assert admitted(third, [999.0] * 5000, OTHER) == most


def test_without_the_earlier_plan_a_new_publisher_waits_the_shortest_time_of_a_switch() -> None:
    first = gate(UNLIMITED)
    first.apply(TWICE_A_SECOND, 1000.0)
    second = gate(TWICE_A_SECOND, 1001.0, first.state())
    second.settle(1000.9 + SWITCH)
    assert admitted(second, [999.0] * 4000) == 4000
    second.settle(1001.0 + SWITCH)
    assert sum(second.admits(RESULTS, seq, 999.0, highest=0) for seq in range(4001, 9000)) == BURST


def test_reloads_in_a_row_refuse_nothing_of_the_plan_before_them() -> None:
    admission, seq = gate(UNLIMITED), 0
    for number, fps in enumerate((5.0, 2.0, 1.0)):
        admission.apply(configured(fps=fps), 1000.0 + number)
        admission.settle(1000.0 + number)
        for index in range(30):
            seq += 1
            assert admission.admits(RESULTS, seq, 1000.0 + number + index / 30, highest=0)
    for index in range(30 * 9):
        seq += 1
        assert admission.admits(RESULTS, seq, 1003.0 + index / 30, highest=0), "the models load for nine seconds"


def test_a_plan_that_leaves_the_pipelines_as_they_are_moves_no_time() -> None:
    admission = gate(UNLIMITED)
    admission.apply(TWICE_A_SECOND, 1000.0)
    switched = 1000.0 + switch_seconds(UNLIMITED, TWICE_A_SECOND)
    for number in range(5):
        admission.apply(TWICE_A_SECOND, switched - 5 + number, ["door"] if number % 2 else [])
    admission.settle(switched - 0.1)
    assert admitted(admission, [999.0] * 4000) == 4000
    admission.settle(switched)
    assert sum(admission.admits(RESULTS, seq, 999.0, highest=0) for seq in range(4001, 9000)) == BURST
    admission.apply(configured(fps=2.0, threshold=0.75), switched + 1)
    admission.settle(switched + 1 + switch_seconds(TWICE_A_SECOND, configured(fps=2.0, threshold=0.75)))
    assert sum(admission.admits(RESULTS, seq, 999.0, highest=0) for seq in range(9001, 9999)) <= BURST


def test_a_rested_engine_starts_with_full_budgets() -> None:
    admission = gate(TWICE_A_SECOND)
    assert admitted(admission, [1000.0] * 5000) == BURST
    assert admission.engine_rested("ab" * 8)
    assert admitted(admission, [1000.0] * 5000, MessageSeries("door", "ab" * 8, "result")) == BURST
    following = gate(TWICE_A_SECOND, 1000.0, admission.state())
    assert not following.engine_rested("ab" * 8), "a later publisher is told again"
    assert admitted(following, [1000.0] * 5000, MessageSeries("door", "cd" * 8, "result")) == 0


def event(kind: Any) -> Event:
    return Event(1, TS, BOOT, 1, kind, label="face")


def test_a_begin_pays_for_its_end_and_an_end_without_one_pays_too() -> None:
    assert [cost(event(kind), begun=True) for kind in ("appear", "leave", "cross")] == [2, 0, 1]
    assert cost(event("leave"), begun=False) == 2
    wanted = configured(fps=2.0, events=EventsPlan(most=6.0))
    admission, most = gate(wanted), burst(wanted, "event") // 2
    assert sum(admission.admits(EVENTS, n, 1000.0, highest=n - 1, cost=2) for n in range(1000)) == most


def test_states_wait_for_their_rate() -> None:
    admission = gate(TWICE_A_SECOND)
    assert sum(admission.wait("door", 1000.0) == 0.0 for _ in range(500)) == burst(TWICE_A_SECOND, "state")
    wait = admission.wait("door", 1000.0)
    assert wait == pytest.approx(0.5)
    assert admission.wait("door", 1000.0 + wait + 0.001) == 0.0


@pytest.mark.parametrize(
    ("keys", "results", "states"),
    [
        ({"fps": 2.0, "publish": "every"}, 2.0, 2.0),
        ({"fps": 15.0, "publish": "change"}, CHANGES_A_MINUTE / 60, CHANGES_A_MINUTE / 60),
        ({"fps": 1.0, "publish": "change"}, 1.0, 1.0),
        ({"publish": "change"}, CHANGES_A_MINUTE / 60, CHANGES_A_MINUTE / 60),
        ({"publish": "every"}, None, None),
        ({"fps": 15.0, "publish": "off", "events": EventsPlan(most=6.0)}, 0.0, 0.1 + 1 / 60),
        ({"fps": 15.0, "publish": "interval", "interval": 10.0}, 0.3, 2.0),
    ],
)
def test_the_configuration_sets_the_rates(keys: dict[str, Any], results: float | None, states: float | None) -> None:
    wanted = configured(**keys)
    rates = channel_rates(wanted, wanted.pipelines[0])
    assert [rates.results, rates.states] == [each and pytest.approx(each) for each in (results, states)]


def test_the_rate_of_the_source_counts_where_the_pipeline_has_none() -> None:
    wanted = configured(replace(CAMERA, fps=5.0))
    assert channel_rates(wanted, wanted.pipelines[0]).results == 5.0


@pytest.mark.parametrize(
    "source",
    [
        replace(CAMERA, live=False, kind="video", options={"realtime": False}),
        replace(CAMERA, live=False, kind="images", options={}),
    ],
)
def test_a_recording_that_is_read_as_fast_as_it_goes_is_not_limited(source: SourcePlan) -> None:
    wanted = configured(source, fps=2.0)
    assert channel_rates(wanted, wanted.pipelines[0]).results is None
    assert admitted(gate(wanted), [1000.0] * 5000) == 5000


def test_a_cascade_has_a_result_for_each_object_of_a_frame() -> None:
    wanted = configured(fps=2.0)
    crops = SourcePlan("cut", "crops", "", live=False, network=False, options={}, parent="door")
    child = replace(wanted.pipelines[0], name="masks", source="cut", fps=None, crops=CropsPlan("door", most=3))
    wanted = replace(wanted, sources=(*wanted.sources, crops), pipelines=(*wanted.pipelines, child))
    assert channel_rates(wanted, child).results == 6.0


def test_a_burst_is_that_of_the_engines_budget_or_of_some_seconds_of_captures() -> None:
    assert burst(configured(fps=15.0, publish="change")) == CHANGES_AT_ONCE + 2 + 4
    assert [burst(configured(fps=fps)) for fps in (0.01, 2.0, 30.0)] == [7, 26, 334]


def test_the_engines_own_budgets_fit_into_the_burst() -> None:
    for most in (0.5, 6.0, 60.0, 600.0):
        assert most + most / 60 + 2 < burst(configured(fps=2.0, events=EventsPlan(most=most)), "event")


@pytest.mark.parametrize("fps", [1.9, 2.1, 5.0, 30.0])
def test_an_engine_that_restarts_all_the_time_is_never_refused(fps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its budgets are full at first, and later fill from its start on, half a second before its first frame."""
    now = [1000.0]
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(MessageBudget, "_empty_at", -math.inf)
    wanted = configured(fps=fps, publish="change", events=EventsPlan(most=6.0))
    admission, sent = gate(wanted), 0
    for life in range(60):
        results, events = MessageBudget(CHANGES_A_MINUTE, CHANGES_AT_ONCE), MessageBudget(6.0)
        series = RESULTS._replace(boot=f"{life:014x}"), EVENTS._replace(boot=f"{life:014x}")
        result, event = 0, 0
        for _ in range(1 + life % 7 * int(5 * fps)):
            if results.take(now[0]):
                result += 1
                assert admission.admits(series[0], result, now[0], highest=result - 1)
            if events.take(now[0], 2):
                event += 1
                assert admission.admits(series[1], event, now[0], highest=event - 1, cost=2)
            now[0] += 1 / fps
        sent += result
        MessageBudget.start_empty()
        now[0] += 0.5
    assert sent > 100


def test_an_engine_that_ends_itself_gets_no_burst_at_each_start() -> None:
    admission, wanted = gate(TWICE_A_SECOND), 0
    for life in range(100):
        wanted += admitted(admission, [1000.0 + life] * 200, RESULTS._replace(boot=f"{life:014x}"))
    assert wanted <= BURST + 2 * 100
