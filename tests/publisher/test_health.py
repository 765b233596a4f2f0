"""The numbers of the engine in health have limits, which no board reaches."""

from __future__ import annotations

from pathlib import Path

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import EgressHealth, Latency, MotionHealth, OutboxHealth, PipelineHealth, SourceHealth
from edge_infer.plan.health_limits import MAX_COUNT, MAX_LATENCY, MAX_RATE
from edge_infer.publisher.health import Board, HealthClock
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
