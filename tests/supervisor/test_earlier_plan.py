"""A publisher that starts again gets the plan before the present one: the engine may still hand over its results."""

from __future__ import annotations

import pytest

from edge_infer.ipc.messages import ApplyPlan, EarlierPlan
from edge_infer.platform.clock import uptime
from edge_infer.sandbox.fence import Fence
from edge_infer.supervisor.processes.supervisor import EARLIER_FOR, ProcessSupervisor
from tests.publisher.samples import model_plan, mqtt_plan, plan


def test_a_new_publisher_gets_the_plan_before_first(monkeypatch: pytest.MonkeyPatch) -> None:
    house = ProcessSupervisor("info")
    said: list[object] = []
    monkeypatch.setattr(house, "_start", lambda _: None)
    monkeypatch.setattr(house, "_fence", lambda _: Fence())
    monkeypatch.setattr(house, "_fences", dict.fromkeys((house.engine, house.publisher), Fence()))
    monkeypatch.setattr(house.publisher, "tell", said.append)
    one, two = (plan(mqtt_plan(1), model=model_plan(labels=(label,))) for label in ("face", "mask"))
    try:
        for each in (one, two, two):
            house.apply(ApplyPlan(each))
        del said[:]
        house._brief(house.publisher)
        first = said[0]
        assert isinstance(first, EarlierPlan)
        assert said[:2] == [EarlierPlan(one, first.replaced), ApplyPlan(two)]
        assert uptime() - 60 < first.replaced <= uptime()
        del said[:]
        monkeypatch.setattr(house, "_earlier", EarlierPlan(one, uptime() - EARLIER_FOR))
        house._brief(house.publisher)
        assert said[0] == ApplyPlan(two), "an engine hands over nothing of it any more"
    finally:
        house.close()
