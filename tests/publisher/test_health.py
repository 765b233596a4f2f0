"""The numbers of the engine in health have limits, which no board reaches."""

from __future__ import annotations

from pathlib import Path

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import (
    EgressHealth,
    GovernorHealth,
    Latency,
    MotionHealth,
    OutboxHealth,
    PipelineHealth,
    SourceHealth,
)
from edge_infer.plan.device_limits import MAX_COUNT, MAX_LATENCY, MAX_RATE
from edge_infer.publisher.health import FIRST, Board, HealthClock
from tests.publisher.samples import engine_report, mqtt_plan, plan


def test_numbers_are_limited_and_texts_are_left_out(tmp_path: Path) -> None:
    huge = 2**53
    said = PipelineHealth(1e300, Latency(1.0, 1e300, 1e300), 7, huge, "text", huge, huge, MotionHealth(huge, 0.5))
    health = HealthClock(Board(tmp_path))
    health.report = replace(
        engine_report(), pipelines={"door": said}, sources={"cam": SourceHealth("ok", 1e300, "text", huge, 1e300)}
    )
    outbox = OutboxHealth(0, 0, 0, {}, degraded=False)
    found = health.compose(plan(mqtt_plan(1883)), outbox, EgressHealth(0))
    assert found.pipelines == {
        "door": PipelineHealth(
            MAX_RATE,
            Latency(1.0, MAX_LATENCY, MAX_LATENCY),
            7,
            MAX_COUNT,
            ABSENT,
            MAX_COUNT,
            MAX_COUNT,
            MotionHealth(MAX_COUNT, 0.5),
        )
    }
    assert found.sources == {"cam": SourceHealth("ok", MAX_RATE, ABSENT, MAX_COUNT, MAX_RATE)}


def test_a_look_at_pictures_is_published_with_the_numbers_of_before(tmp_path: Path) -> None:
    """Otherwise who looks often would let the engine say more in health than its bound counts."""
    health, now = HealthClock(Board(tmp_path), lambda: 1000.0), plan(mqtt_plan(1883))
    assert health.watch(watched=True) is None, "there is no message yet; the first one says it"
    health.report = engine_report()
    first = health.compose(now, OutboxHealth(1, 0, 0, {}, degraded=False), EgressHealth(0))
    assert first.watched is True
    assert health.watch(watched=True) is None
    health.report = replace(health.report, boot="abcdef123456")
    second = health.watch(watched=False)
    assert second is not None
    assert replace(second, ts=first.ts, watched=True) == first
    assert second.watched is ABSENT
    assert health.compose(now, OutboxHealth(2, 0, 0, {}, degraded=False), EgressHealth(0)).boot == "abcdef123456"


def test_what_calls_for_health_between_two_messages_has_the_numbers_of_before(tmp_path: Path) -> None:
    """A broker that cuts the connection, or the governor, would otherwise let the engine say more in health."""
    now, plans = [1000.0], plan(mqtt_plan(1883))
    health = HealthClock(Board(tmp_path), lambda: now[0])
    health.report = engine_report()
    health.connected()
    now[0] += FIRST
    assert health.again() is None
    assert health.due(), "the first one is due soon after the connection"
    first = health.compose(plans, OutboxHealth(1, 0, 0, {}, degraded=False), EgressHealth(0))
    said = [first]
    for number in range(29):
        now[0] += 1.0
        health.report = replace(engine_report(), boot=f"{number:012x}")
        health.connected()
        assert not health.due()
        if (again := health.again()) is not None:
            said.append(again)
    assert len(said) > 10
    assert all(replace(each, ts=first.ts) == first for each in said)
    governor = GovernorHealth({"door": 1.0}, "load")
    health.restrained(governor)
    now[0] += 0.5
    assert health.again() is None
    now[0] += 0.5
    assert health.due(), "its time has come"
    found = health.compose(plans, OutboxHealth(2, 0, 0, {}, degraded=False), EgressHealth(0))
    assert (found.governor, found.boot) == (governor, f"{28:012x}")
    assert health.again() is None
    health.restrained(None)
    now[0] += FIRST
    again = health.again()
    assert again is not None
    assert replace(again, ts=found.ts, governor=governor) == found
