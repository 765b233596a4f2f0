"""A real daemon under the limits of a small board is measured; how well it keeps up is for people."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.running import MODEL


@pytest.fixture
def small(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = benchmark("small")
    monkeypatch.setattr(module, "WARM", 1.0)
    return module


@pytest.fixture
def group(small: ModuleType) -> Any:
    """A control group of one core and 1 GB."""
    try:
        made = small.Group(1.0, 1_000_000_000)
    except OSError:
        pytest.skip("no control group with a limit of memory can be made here")
    yield made
    assert small.eventually(made.remove, "end of its processes")


def test_the_processes_of_the_daemon_are_in_the_group(
    small: ModuleType, group: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small.run("one core", [MODEL], 2.0, group)
    said = capsys.readouterr().out
    assert said.startswith("one core: a result of each after ")
    assert "face-full-range-int8: " in said
    assert " of 10 results, " in said
    used = group.used()
    assert used.seconds > 0.5
    assert 30e6 < used.peak < 1e9
    assert used.killed == 0


@pytest.mark.parametrize(
    ("results", "late", "killed", "good"),
    [(10, 0, 0, True), (9, 0, 0, True), (8, 0, 0, False), (10, 1, 0, False), (10, 0, 1, False)],
)
def test_what_keeping_up_means(small: ModuleType, results: int, late: int, killed: int, good: bool) -> None:
    assert small.keeps_up(killed, [small.Kept(results, 10, late, 0.01, 0.02)]) is good
