"""The short form of ``scripts/faults swap``: few repetitions; that nothing is lost or untrue counts, not how soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import shadow, swap


def test_good_swaps_lose_no_frame(tmp_path: Path) -> None:
    results = next(swap.good_swaps(tmp_path, 3))
    assert results.kept, str(results)


def test_switches_leave_no_file_open_and_no_metric_series(tmp_path: Path) -> None:
    *rooms, series = swap.many_swaps(tmp_path, 4)
    assert series.kept, str(series)
    for room in rooms:
        before, after = map(int, room.figures.split(" open")[0].split(" -> "))
        assert after <= before, str(room)


def test_broken_files_change_nothing(tmp_path: Path) -> None:
    (found,) = swap.broken_files(tmp_path, 3)
    assert found.figures.startswith("0 exits, 0 applied in part, 0 without"), str(found)


def test_writers_that_die_leave_what_was(tmp_path: Path) -> None:
    for pattern in swap.writers(tmp_path, 1):
        assert pattern.kept, str(pattern)


def test_kills_leave_the_truth(tmp_path: Path) -> None:
    (found,) = swap.kills(tmp_path, 6)
    assert found.kept, str(found)


def test_power_cuts_leave_a_whole_record(tmp_path: Path) -> None:
    (found,) = swap.power_cuts(tmp_path, 10)
    assert found.kept, str(found)


def test_a_shadow_sees_its_share() -> None:
    cost = shadow.measure(300, one_core=False)
    assert cost.shadow.frames + cost.shadow.skipped == pytest.approx(cost.frames / 5, abs=2)
    assert cost.shadow.frames > 0
    assert (cost.shadow.agreement, cost.shadow.errors) == (1.0, 0)
