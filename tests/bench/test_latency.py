"""The added latency is measured on a real daemon and a real broker; how long it is, is for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.broker import Broker


def test_every_part_of_the_way_is_measured(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, broker: Broker
) -> None:
    latency = benchmark("latency")
    found = latency.measure(None, 1.5, 2, tmp_path, broker.port)
    assert found.messages >= 30, "two rounds of 45 frames each"
    assert len(found.added) == len(found.outcome) == len(found.way) == len(found.alone) == 2
    for added, outcome, way, alone in zip(found.added, found.outcome, found.way, found.alone, strict=True):
        assert 0 < way.p50 <= way.p99
        assert 0 < alone.p50 <= alone.p99
        assert added.p50 == pytest.approx(outcome.p50 + way.p50, abs=max(outcome.p99 - outcome.p50, way.p99 - way.p50))
    lines = latency.table(found).splitlines()
    assert "face_full_range_int8" in lines[0]
    assert [line[:4] for line in lines[2:]] == ["from", "  un", "  fr", "paho", "time"]
