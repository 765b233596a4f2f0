"""A process that says that another one floods it is believed a few times: it may say so falsely."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.ipc.messages import Offence
from edge_infer.supervisor.processes.output import MAX_EXCERPT
from edge_infer.supervisor.processes.supervisor import (
    MAX_ACCUSATIONS,
    MAX_ACCUSATIONS_OF_EACH_OTHER,
    ProcessSupervisor,
)


@pytest.fixture
def house() -> Iterator[ProcessSupervisor]:
    found = ProcessSupervisor("info")
    yield found
    found.close()


SENDS = "reader cam sends the engine too many or invalid records"


def running(name: str) -> Any:
    return SimpleNamespace(pid=1, killed=False, killable=True, recipe=SimpleNamespace(name=name))


def test_a_few_at_once_and_then_one_a_minute(house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    monkeypatch.setattr(house._readers, "children", lambda: {"cam": running("reader cam")})
    monkeypatch.setattr(house, "_kill", lambda child, why: killed.append(f"{child.recipe.name} {why}"))
    for _ in range(100):
        house._accuse(house.engine, Offence("reader", "x\x1b[2J" * 1000, "cam"))
    assert len(killed) == MAX_ACCUSATIONS
    assert killed[0].startswith(f"{SENDS} («x\ufffd[2J")
    assert len(killed[0]) == len(f"{SENDS} («»)") + MAX_EXCERPT


@pytest.mark.parametrize(("accuser", "accused"), [("engine", "publisher"), ("publisher", "engine")])
def test_engine_and_publisher_accuse_each_other_three_times_and_then_once_an_hour(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, accuser: str, accused: str
) -> None:
    """One of them that is compromised would keep the other from its work."""
    ended: list[str] = []
    now = [time.monotonic()]
    for bucket in house._accusations.values():
        bucket._clock = lambda: now[0]
    monkeypatch.setattr(house, accused, running(accused))
    monkeypatch.setattr(house, "_kill", lambda child, _: ended.append(child.recipe.name))
    for most in (MAX_ACCUSATIONS_OF_EACH_OTHER, 1, 1):
        for _ in range(100):
            house._accuse(getattr(house, accuser), Offence(accused, "too much"))
        assert ended == [accused] * most
        ended.clear()
        now[0] += 3601.0


@pytest.mark.parametrize("by", ["publisher", "reader"])
def test_the_publisher_accuses_the_engine_alone(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(house._readers, "children", lambda: {"cam": running("reader cam")})
    monkeypatch.setattr(house, "_kill", lambda child, _: killed.append(child.recipe.name))
    house._accuse(house.publisher, Offence(by, "too much", "cam"))
    assert killed == []
