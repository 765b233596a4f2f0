"""The statistics of drift hold what their sources say: the noise of an index, run lengths, and extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_infer.engine.drift.statistics import (
    Cusum,
    DailySignal,
    Extremes,
    cusum_threshold,
    psi,
    psi_without_drift,
    run_length,
)


@pytest.mark.parametrize(
    ("reference", "window", "mean"), [(100, 100, 0.180), (1000, 100, 0.099), (2000, 200, 0.049), (10_000, 1000, 0.010)]
)
def test_the_stability_index_without_drift_is_as_large_as_its_theory_says(
    reference: int, window: int, mean: float
) -> None:
    draw = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [psi(draw.multinomial(reference, shares), draw.multinomial(window, shares)) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(mean, rel=0.1)
    assert psi_without_drift(10, reference, window) == pytest.approx(mean, rel=0.1)


def test_the_index_of_another_distribution_is_many_times_that_noise() -> None:
    assert psi([100] * 10, [300, *[78] * 9]) > 5 * psi_without_drift(10, 1000, 1002)
    assert psi([], []) == 0.0
    assert math.isfinite(psi([10, 0], [0, 10]))  # an empty bin is no infinite difference


@pytest.mark.parametrize(("threshold", "calm", "shifted"), [(4.0, 168, 8.4), (5.0, 465, 10.4), (8.0, 9475, 16.4)])
def test_a_cumulative_sum_runs_as_long_as_the_tables_say(threshold: float, calm: float, shifted: float) -> None:
    assert run_length(threshold, 0.5) / 2 == pytest.approx(calm, rel=0.1)
    draw, lengths = np.random.default_rng(2), []
    for _ in range(2000):
        total, steps = Cusum(0.5), 0
        while abs(total.add(draw.normal(1.0))) < threshold:
            steps += 1
        lengths.append(steps + 1)
    assert np.mean(lengths) == pytest.approx(shifted, rel=0.1)


def test_it_runs_as_long_without_a_shift() -> None:
    draw, lengths = np.random.default_rng(3), []
    for _ in range(600):
        total, steps = Cusum(0.5), 1
        while abs(total.add(draw.standard_normal())) < 5.0:
            steps += 1
        lengths.append(steps)
    assert np.mean(lengths) == pytest.approx(465, rel=0.1)


def test_the_sign_of_a_sum_is_its_direction() -> None:
    total = Cusum(0.5)
    assert total.add(2.0) == 1.5
    assert total.add(-9.0) == -8.5
    total.reset()
    assert total.add(0.0) == 0.0


@pytest.mark.parametrize("steps", [100.0, 35_000.0, 1e7])
def test_a_threshold_gives_the_run_length_that_was_asked_for(steps: float) -> None:
    assert run_length(cusum_threshold(steps, 0.4), 0.4) == pytest.approx(steps, rel=1e-3)


def test_a_level_of_extremes_is_exceeded_less_often_than_stated() -> None:
    draw, exceeded, years = np.random.default_rng(4), 0, 300
    for _ in range(years):
        found = Extremes()
        for largest in draw.normal(size=(24, 60)).max(axis=1):
            found.add(float(largest))
        level = found.level(1000.0)
        exceeded += int((draw.normal(size=(1000, 60)).max(axis=1) > level).sum())
        assert level < 8.0  # and is not so high that nothing could reach it
    assert exceeded / years < 1.0


def test_too_few_extremes_set_no_level() -> None:
    found = Extremes()
    found.add(1.0)
    assert found.level(100.0) == math.inf


def test_a_daily_signal_knows_its_means_and_its_correlation() -> None:
    draw, signal, level = np.random.default_rng(5), DailySignal(), 0.0
    before: float | None = None
    for step in range(6000):
        hour = step // 4 % 24
        level = 0.8 * level + 0.6 * draw.standard_normal()
        before = signal.add(hour, 10 * hour + level, before, varying=step > 2000)
    assert signal.means == pytest.approx([10 * hour for hour in range(24)], abs=0.35)
    assert 0.79 < signal.correlation() < 0.85
    assert signal.step_spread() == pytest.approx(0.6, rel=0.06)
    assert signal.mean == pytest.approx(115, abs=0.5)


def test_a_signal_of_few_windows_or_one_value_decides_nothing() -> None:
    signal = DailySignal()
    assert signal.step_spread() == math.inf
    for _ in range(50):
        signal.add(0, 1.0, 0.0, varying=True)
    assert signal.step_spread() == 0.0
