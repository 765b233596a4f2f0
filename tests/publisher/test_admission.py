"""Rates are those of captures: a backlog passes at once, and nothing that a configuration does not allow."""

from __future__ import annotations

from typing import Any

import pytest

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Event
from edge_infer.plan.channel_rates import CHANGES_A_MINUTE, burst, channel_rates
from edge_infer.plan.records import CropsPlan, EventsPlan, Plan, SourcePlan
from edge_infer.publisher.admission import KEPT_BYTES, Admission, cost
from edge_infer.publisher.outbox.entry import MessageSeries
from tests.publisher.samples import BOOT, TS, mqtt_plan, plan

RESULTS, EVENTS = MessageSeries("door", BOOT, "result"), MessageSeries("door", BOOT, "event")
CAMERA = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})


def configured(source: SourcePlan = CAMERA, **changes: Any) -> Plan:
    made = plan(mqtt_plan(1883))
    keys = {"publish": "every", "track": None, "events": None, **changes}
    return replace(made, sources=(source,), pipelines=(replace(made.pipelines[0], **keys),))


def gate(wanted: Plan, now: float = 1000.0) -> Admission:
    admission = Admission(now)
    admission.apply(wanted, now)
    return admission


def admitted(admission: Admission, times: list[float], series: MessageSeries = RESULTS) -> int:
    return sum(admission.admits(series, seq, at, 300, highest=seq - 1) for seq, at in enumerate(times, 1))


def test_an_honest_engine_at_its_rate_is_never_refused() -> None:
    times = [1000.0 + index / 2 + 0.2 * (index % 3) for index in range(20_000)]
    assert admitted(gate(configured(fps=2.0)), times) == len(times)


def test_more_captures_than_the_rate_allows_are_refused() -> None:
    times = [1000.0 + index / 1000 for index in range(60_000)]
    assert burst(2.0) <= admitted(gate(configured(fps=2.0)), times) <= 2 * 60 + burst(2.0)


def test_a_backlog_passes_at_once_and_claims_no_time_twice() -> None:
    admission = gate(configured(fps=2.0))
    backlog = [1000.0 + index / 2 for index in range(7200)]
    assert admitted(admission, backlog) == len(backlog)
    again = range(7201, 8000)
    assert sum(admission.admits(RESULTS, seq, 1000.0 + seq / 8, 300, highest=0) for seq in again) <= burst(2.0)


def test_a_number_that_is_skipped_costs_as_much_as_a_message() -> None:
    admission = gate(configured(fps=2.0))
    assert admission.admits(RESULTS, burst(2.0), 1000.0, 300, highest=0)
    assert not admission.admits(RESULTS, burst(2.0) + 1, 1000.1, 300, highest=0)
    assert admission.admits(RESULTS, burst(2.0) + 1, 1001.0, 300, highest=0)
    assert not admission.admits(RESULTS, 2**53, 1050.0, 300, highest=0)
    assert admission.admits(RESULTS, 2**53, 1100.0, 300, highest=0)  # for a whole burst


def test_what_an_engine_kept_over_the_death_of_a_publisher_passes_once() -> None:
    admission = gate(configured(fps=2.0))
    size = KEPT_BYTES // 1000
    assert sum(admission.admits(RESULTS, n, 900.0, size, highest=0) for n in range(1, 2001)) == 1000 + burst(2.0)


def test_a_change_of_the_plan_still_admits_what_is_on_its_way() -> None:
    admission = gate(configured(fps=10.0))
    admission.apply(configured(fps=10.0, publish="off"), 1000.0)
    assert admitted(admission, [1000.0] * 5000) == burst(10.0)


def test_a_new_engine_starts_with_full_budgets() -> None:
    admission = gate(configured(fps=2.0))
    assert admitted(admission, [1000.0] * 5000) == burst(2.0)
    admission.engine_started()
    assert admitted(admission, [1000.0] * 5000, MessageSeries("door", "ab" * 8, "result")) == burst(2.0)


def event(kind: Any) -> Event:
    return Event(1, TS, BOOT, 1, kind, label="face")


def test_a_begin_pays_for_its_end_and_an_end_without_one_pays_too() -> None:
    assert [cost(event(kind), begun=True) for kind in ("appear", "leave", "cross")] == [2, 0, 1]
    assert cost(event("leave"), begun=False) == 2
    admission = gate(configured(fps=2.0, events=EventsPlan(most=6.0)))
    times = range(1000)
    assert sum(admission.admits(EVENTS, n, 1000.0, 200, highest=n - 1, cost=2) for n in times) == burst(0.1) // 2


def test_states_wait_for_their_rate() -> None:
    admission = gate(configured(fps=2.0))
    assert sum(admission.wait("door", 1000.0) == 0.0 for _ in range(500)) == burst(2.0)
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


def test_a_burst_is_at_least_ten_messages() -> None:
    assert [burst(rate) for rate in (0.01, 2.0, 30.0)] == [11, 130, 1810]


def test_the_engines_own_budgets_fit_into_the_burst() -> None:
    for most in (0.5, 6.0, 60.0, 600.0):
        assert most < burst(most / 60.0) - 2
    assert burst(CHANGES_A_MINUTE / 60.0) > CHANGES_A_MINUTE
