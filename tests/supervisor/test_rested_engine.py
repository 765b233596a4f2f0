"""An engine that ends itself again and again gets full budgets once an hour."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge_infer.ipc.messages import ApplyPlan, EngineUp
from edge_infer.plan.channel_rates import RESTED_AFTER
from edge_infer.sandbox.fence import Fence
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from tests.engine.plans import pipeline
from tests.supervisor.test_slots import plan


def test_a_publisher_that_starts_later_is_told_that_the_engine_has_full_budgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that was told may have died at the same time as the engine before."""
    house, said = ProcessSupervisor("info"), list[object]()
    monkeypatch.setattr(house, "_fence", lambda _: Fence())
    monkeypatch.setattr(house._model_sender, "send", lambda _: None)
    monkeypatch.setattr(house.engine, "start", lambda *_, **__: None)
    monkeypatch.setattr(type(house.engine), "pid", property(lambda _: 1))
    house._start(house.engine)
    monkeypatch.setattr(house.publisher, "tell", said.append)
    house._plan, house._order = plan(pipeline()), ApplyPlan(plan(pipeline()))
    house._brief(house.publisher)
    assert [up.rested for up in said if isinstance(up, EngineUp)] == [True]
    house._plan = None  # so that its end starts nothing
    monkeypatch.undo()
    house.close()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessSupervisor]:
    found = ProcessSupervisor("info")
    monkeypatch.setattr(found, "_fence", lambda _: Fence())
    monkeypatch.setattr(found, "_brief", lambda _: None)
    yield found
    found.close()


def starts(house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, times: list[float]) -> list[bool]:
    """Return for each start whether the engine began with full budgets; the publisher is told the same."""
    said: list[EngineUp] = []
    words: list[tuple[str, ...]] = []
    now = [0.0]
    begin = time.monotonic()
    monkeypatch.setattr(house.publisher, "tell", said.append)

    def start(*given: str, **_: Any) -> None:
        words.append(given)

    monkeypatch.setattr(house.engine, "start", start)
    monkeypatch.setattr(time, "monotonic", lambda: begin + now[0])
    for at in times:
        now[0] = at
        house._start(house.engine)
    assert [up.rested for up in said] == ["--empty-budgets" not in each for each in words]
    assert all(up.fresh for up in said)
    return [up.rested for up in said]


def test_the_first_engine_and_later_one_an_hour_start_with_full_budgets(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0.0, 1.0, 2.0, 3.0, RESTED_AFTER - 1, RESTED_AFTER + 1, RESTED_AFTER + 2]
    assert starts(house, monkeypatch, times) == [True, True, False, False, False, True, False]


def test_an_engine_that_the_supervisor_replaces_starts_with_full_budgets(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts(house, monkeypatch, [0.0, 1.0, 2.0])
    monkeypatch.setattr(type(house.engine), "pid", property(lambda _: 1))
    monkeypatch.setattr(house.engine, "tell", lambda _: None)
    house._replace(house.engine, "needs access to other files")
    monkeypatch.undo()
    assert house._budgets_full()
