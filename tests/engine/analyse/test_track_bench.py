"""The bench that compares trackers: what it makes up, how it follows, and how it counts crossings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import tracking

    return tracking


def test_the_same_seed_makes_the_same_scene_and_another_one_does_not(bench: Any) -> None:
    street = bench.KINDS["street"]
    one, again, other = (bench.made_up(street, seed, 3.0) for seed in (7, 7, 8))
    assert np.array_equal(one.truth, again.truth)
    assert np.array_equal(one.found, again.found)
    assert not np.array_equal(one.truth, other.truth)


def test_seeds_for_tuning_are_not_those_of_the_report(bench: Any) -> None:
    assert not set(bench.TUNING) & set(bench.REPORT)


def test_ids_of_a_street_belong_to_one_person_each(bench: Any) -> None:
    shots = bench.made_up(bench.KINDS["street"], 7, 5.0)
    given = bench.follow(shots)
    early = (given.online == 0) & (given.back > 0)
    assert early.any()
    assert (given.online[~early] == given.back[~early]).all()
    mixed = boxes = 0
    for number in np.unique(given.back[given.back > 0]):
        owners = [_owner(shots, row) for row in np.flatnonzero(given.back == number)]
        real = [owner for owner in owners if owner is not None]
        if real:
            boxes += len(real)
            mixed += len(real) - max(real.count(each) for each in set(real))
    assert boxes > 300
    assert mixed <= 0.35 * boxes


def _owner(shots: Any, row: int) -> int | None:
    """Return the object whose true box lies nearest to a found one, within half of its height."""
    frame, *box = shots.found[row, :5]
    real = shots.truth[shots.truth[:, 0] == frame]
    off = np.abs(real[:, 2:6] - np.array(box)).max(axis=1)
    best = int(off.argmin()) if len(off) else -1
    return int(real[best, 1]) if best >= 0 and off[best] < 0.5 * (real[best, 5] - real[best, 3]) else None


def test_crossings_are_missed_invented_or_neither(bench: Any) -> None:
    frames = np.arange(40)
    middle = 100.0 + 10 * frames  # of 640 pixels: over 0.3 (192) and 0.4 (256), 0.5 (320) and 0.6 (384), 0.7 (448)
    truth = np.column_stack((frames, np.ones(40), middle - 20, np.full(40, 100), middle + 20, np.full(40, 200)))
    shots = bench.Shots("walk", 10.0, (640, 480), 40, truth, np.empty((0, 7)))
    true = bench.true_crossings(shots)
    assert [(line, way) for _, line, way in true] == [(line, 1) for line in range(5)]
    told = np.array([*true[:4], (30.0, 0, -1)], np.float64)
    assert bench.compare(shots, told) == (5, 1, 1)


def test_every_other_tracker_is_tuned_at_each_rate_within_what_may_be_tried(bench: Any) -> None:
    tuned = json.loads(bench.TUNED.read_text())
    assert set(tuned) == set(bench.PEERS)
    for name, by_rate in tuned.items():
        assert set(by_rate) == {f"{fps:g}" for fps in bench.TUNING_RATES}
        for options in by_rate.values():
            for key, value in options.items():
                assert json.dumps(value) in map(json.dumps, bench.PEERS[name][1][key])


def test_proposals_are_the_defaults_first_and_then_neighbours_of_the_best(bench: Any) -> None:
    first = bench._proposals("SORTTracker", 10.0, 6, [])
    assert first[0] == {}
    best = first[3]
    tried = [(each, 50.0 if each == best else 40.0) for each in first]
    for options in bench._proposals("SORTTracker", 10.0, 4, tried):
        assert options not in first
        assert sum(options[key] != best[key] for key in best) == 1
