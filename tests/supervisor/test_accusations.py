"""A process that says that another one floods it is believed a few times: it may say so falsely."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.ipc.messages import Offence
from edge_infer.supervisor.processes.output import MAX_EXCERPT
from edge_infer.supervisor.processes.supervisor import MAX_ACCUSATIONS, ProcessSupervisor


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


@pytest.mark.parametrize("by", ["publisher", "reader"])
def test_the_publisher_accuses_the_engine_alone(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(house._readers, "children", lambda: {"cam": running("reader cam")})
    monkeypatch.setattr(house, "_kill", lambda child, _: killed.append(child.recipe.name))
    house._accuse(house.publisher, Offence(by, "too much", "cam"))
    assert killed == []
