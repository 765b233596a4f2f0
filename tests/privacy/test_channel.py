"""What valid messages can carry: a playing engine comes close to the calculated bound and does not exceed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_infer.audit import leaking_engine
from edge_infer.contract.codec import replace
from edge_infer.contract.precision import PRECISIONS, TIME_STEPS
from edge_infer.plan.channel_bound import channel_bound, device_bound
from edge_infer.plan.channel_rates import RESTED_AFTER, channel_rates, moment_bits
from edge_infer.plan.device_limits import announcement_bound, health_bound
from edge_infer.plan.records import (
    DecoderPlan,
    DriftPlan,
    EventsPlan,
    GovernorPlan,
    NmsPlan,
    Plan,
    SourcePlan,
    TrackPlan,
)
from tests.publisher.samples import model_plan, mqtt_plan, plan

LABELS = tuple(f"label {number}" for number in range(80))
EVENTS_ONLY = {"task": "classification", "publish": "off", "detail": "coarse", "events": EventsPlan(most=6.0)}


def configured(labels: tuple[str, ...] = ("face",), task: Any = "detection", most: int = 10, **keys: Any) -> Plan:
    decoder = DecoderPlan("blazeface", "edge_infer.engine.decoders.blazeface:BlazeFace")
    model = replace(model_plan(labels=labels), task=task, decoder=decoder, nms=NmsPlan(max=most))
    made = plan(mqtt_plan(1883), model=model)
    wanted = {"fps": 2.0, "publish": "change", "track": None, "events": None, **keys}
    camera = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})
    return replace(made, sources=(camera,), pipelines=(replace(made.pipelines[0], **wanted),))


def arrivals(made: Plan) -> float:
    """Return the bytes a second of the bound that are in the moments at which messages are handed over."""
    rates, step = channel_rates(made, made.pipelines[0]), TIME_STEPS[made.pipelines[0].detail]
    found = zip((rates.results, rates.states, rates.events), rates.bursts, strict=True)
    return sum(moment_bits(rate + most / RESTED_AFTER, step) / 8 for rate, most in found if rate)


def test_the_moment_of_arrival_counts_as_the_one_of_capture_does() -> None:
    """An engine may hold a message back: its capture is as it was, and the moment of its arrival differs."""
    made = configured(**EVENTS_ONLY)
    bound = channel_bound(made)["door"]
    assert bound.total is not None
    assert 0.1 < arrivals(made) < bound.total / 2


@pytest.mark.parametrize("task", ["detection", "classification", "segmentation"])
@pytest.mark.parametrize("length", [30, 32, 64, 128])
def test_long_labels_have_a_bound_too(length: int, task: str) -> None:
    labels = tuple(f"{number:0{length}}" for number in range(3))
    keys: dict[str, Any] = {"labels": labels, "task": task}
    long, short = (channel_bound(configured(**each))["door"].total for each in (keys, {**keys, "labels": LABELS[:3]}))
    assert long is not None
    assert short is not None
    assert 1.0 < long <= short


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ({}, 220.0),
        ({"publish": "every"}, 220.0),
        ({"labels": LABELS}, 220.0),
        ({"most": 100}, 220.0),
        ({"detail": "coarse"}, 60.0),
        (EVENTS_ONLY, 0.5),
        ({**EVENTS_ONLY, "detail": "full"}, 1.0),
        ({"labels": LABELS, "task": "classification", "events": EventsPlan()}, 60.0),
        ({"labels": LABELS[:5], "task": "segmentation"}, 60.0),
    ],
    ids=[
        "default",
        "every",
        "80 labels",
        "100 objects",
        "coarse",
        "events only",
        "events in full",
        "classes",
        "shares",
    ],
)
def test_a_playing_engine_comes_close_to_the_bound_and_not_above_it(keys: dict[str, Any], most: float) -> None:
    made = configured(**keys)
    leak = leaking_engine.leaks(made)["door"]
    assert leak.bound is not None
    used = leak.bound - arrivals(made)  # the player hands each message over at once
    assert 0.75 * used <= leak.recovered <= min(most, leak.bound)


@pytest.mark.parametrize(
    "keys",
    [
        {"labels": LABELS, "publish": "off", "detail": "coarse", "events": EventsPlan(most=6.0)},
        {"labels": LABELS, "publish": "interval", "interval": 60.0, "detail": "coarse"},
        {"labels": LABELS, "detail": "coarse"},
        {"labels": LABELS, "most": 1},
        {"labels": LABELS[:21], "task": "segmentation", "detail": "coarse"},
        {"labels": LABELS[:21], "task": "segmentation", "detail": "coarse", "publish": "interval", "interval": 60.0},
        {"labels": LABELS[:3], "most": 2, "publish": "interval", "interval": 60.0, "detail": "coarse"},
        {"labels": LABELS[:2], "task": "classification", "publish": "interval", "interval": 60.0},
        {"labels": LABELS[:2], "events": EventsPlan(), "track": TrackPlan(), "detail": "coarse", "publish": "off"},
    ],
    ids=lambda keys: ", ".join(f"{key} {value if isinstance(value, str) else ''}" for key, value in keys.items()),
)
def test_optional_fields_carry_nothing_in_any_plan(keys: dict[str, Any]) -> None:
    """The player fills them by chance, and what it reads back counts."""
    made = configured(**keys)
    player = leaking_engine._LeakingEngine(made, made.pipelines[0], channel_bound(made)["door"])
    leak = player.play()
    assert leak.bound is not None
    assert 0.0 < leak.recovered <= leak.bound
    assert player._secret.wrong == 0


def test_objects_that_are_followed_carry_more() -> None:
    wanted = configured(track=TrackPlan(), events=EventsPlan())
    leak = leaking_engine.leaks(wanted)["door"]
    assert leak.bound is not None
    assert channel_bound(configured())["door"].results < channel_bound(wanted)["door"].results  # type: ignore[operator]
    assert 100.0 < leak.recovered < leak.bound


def test_every_field_that_the_engine_fills_is_read_back() -> None:
    made = configured(track=TrackPlan(), events=EventsPlan())
    player = leaking_engine._LeakingEngine(made, made.pipelines[0], channel_bound(made)["door"])
    player.play()
    assert player._secret.recovered > 100
    assert player._secret.wrong == 0


@pytest.mark.parametrize("keys", [{"publish": "off", "detail": "coarse"}, EVENTS_ONLY, {"detail": "coarse"}])
def test_drift_is_within_the_bound(keys: dict[str, Any]) -> None:
    """The player fills the budget of both with one of them: with other events, or with those of drift alone."""
    made, without = configured(**keys, drift=DriftPlan()), configured(**keys)
    leak, bound, before = (
        leaking_engine.leaks(made)["door"],
        channel_bound(made)["door"],
        channel_bound(without)["door"],
    )
    assert leak.bound is not None
    assert 0.5 * (leak.bound - arrivals(made)) <= leak.recovered <= leak.bound
    assert before.events < bound.events < before.events + 0.15


def test_without_a_rate_there_is_no_bound() -> None:
    unlimited = configured(fps=None, publish="every")
    assert device_bound(unlimited).bytes_per_second is None
    assert leaking_engine.leaks(unlimited) == {}
    assert device_bound(configured(fps=None)).bytes_per_second is not None  # changes have a budget


def test_the_bound_of_the_device_is_the_sum_and_says_how_long_a_picture_takes() -> None:
    one = configured()
    two = replace(one, pipelines=(one.pipelines[0], replace(one.pipelines[0], name="yard")))
    whole, half = device_bound(two), device_bound(one)
    assert half.bytes_per_second is not None
    health = health_bound(two) - health_bound(one)
    assert 0 < health < 2
    numbers = health_bound(one) - health + announcement_bound(one)[0]  # of the source, the account and the model
    assert whole.bytes_per_second == pytest.approx(2 * half.bytes_per_second - numbers, abs=0.02)
    assert half.burst_bytes
    assert half.picture_seconds == int((7000 - half.burst_bytes) / half.bytes_per_second)


def test_the_numbers_of_a_source_of_crops_count_in_the_bound() -> None:
    """Health lists it like a camera."""
    made = configured()
    crops = SourcePlan("hall", "crops", "m:C", live=False, network=False, options={}, parent="door")
    with_crops, with_camera = (
        replace(made, sources=(*made.sources, each)) for each in (crops, replace(made.sources[0], name="yard"))
    )
    assert health_bound(made) < health_bound(with_crops) == health_bound(with_camera)


def test_limits_of_the_governor_count_in_the_bound() -> None:
    made = configured()
    governed = replace(made, governor=GovernorPlan(shed=(made.pipelines[0].name,)))
    assert 0.13 < health_bound(governed) - health_bound(made) < 0.17


def test_the_page_has_these_figures() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hidden-data.md").read_text()
    for keys, more in ({}, 1), ({"detail": "coarse"}, 1), (EVENTS_ONLY, 3600):
        bound = channel_bound(configured(**keys))["door"]
        assert bound.total is not None
        seconds = (7000 - bound.burst) / bound.total
        lasts = f"{int(seconds)} s" if more == 1 else f"{seconds / more:.1f} hours"
        burst = f"{bound.burst / 1000:.1f} kB" if bound.burst > 999 else f"{bound.burst:.0f} bytes"
        rate = f"{bound.total:.0f}" if bound.total > 1 else f"{bound.total:.2f}"
        assert f" | {rate} | {burst} | {lasts} |" in page


def test_what_may_leave_at_once_is_part_of_the_bound() -> None:
    bound, rates = channel_bound(configured())["door"], channel_rates(configured(), configured().pipelines[0])
    assert bound.results is not None
    assert bound.burst >= 2 * rates.burst("result") * 60  # each result has more than 60 bytes; a new engine has a burst
    everything = configured(labels=LABELS, track=TrackPlan(), most=100, events=EventsPlan())
    assert device_bound(everything).picture_seconds == 0


@pytest.mark.parametrize("task", ["pose", "anomaly", "regression"])
def test_other_tasks_have_a_bound_too(task: str) -> None:
    bound = channel_bound(configured(task=task))["door"].total
    assert bound is not None
    assert 1.0 < bound < 1024 * 4


@pytest.mark.parametrize("keys", [{}, {"detail": "coarse"}, {"most": 100}, {"labels": LABELS}])
def test_a_result_carries_no_more_than_its_bytes(keys: dict[str, Any]) -> None:
    bound = channel_bound(configured(**keys))["door"].results
    assert bound is not None
    assert bound < 2 * 1024


def test_moments_carry_less_when_they_are_coarse_or_rare() -> None:
    assert moment_bits(2.0, 1.0) < moment_bits(2.0, 0.001) < 2 * 12
    assert moment_bits(0.1, 0.001) < moment_bits(2.0, 0.001)


@pytest.mark.parametrize("detail", PRECISIONS)
def test_lists_have_numbers_of_their_own(detail: Any) -> None:
    precision = PRECISIONS[detail]
    for rank in (0, 1, 12345, 10**20):
        assert leaking_engine._ranked(leaking_engine._unranked(rank, 7)) == rank
    for index in (0, 1, leaking_engine._boxes(precision) - 1):
        assert leaking_engine._index_of_box(leaking_engine._box(index, precision), precision) == index
