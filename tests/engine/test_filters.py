from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_infer.engine.preprocess.row_filters import Biquad, GravityFilter, highpass, lowpass, make_filters, upright
from edge_infer.errors import ModelError
from edge_infer.plan.records import FilterPlan

Coefficients = tuple[tuple[float, ...], tuple[float, ...]]


def one_by_one(coefficients: Coefficients, signal: np.ndarray) -> np.ndarray:
    """The difference equation as it is written, beginning with a signal that was as the first row for ever."""
    b, a = coefficients
    rest = sum(b) / sum(a)
    x1 = x2 = signal[0].copy()
    y1 = y2 = signal[0] * rest
    out = []
    for x in signal:
        y = b[0] * x + b[1] * x1 + b[2] * x2 - a[1] * y1 - a[2] * y2
        x1, x2, y1, y2 = x, x1, y, y1
        out.append(y)
    return np.array(out)


@settings(max_examples=60)
@given(
    st.sampled_from([lowpass, highpass]),
    st.floats(0.0005, 0.45),
    st.lists(st.integers(1, 200), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_blocks_give_what_the_difference_equation_gives(
    kind: object, share: float, sizes: list[int], channels: int
) -> None:
    assert callable(kind)
    coefficients: Coefficients = kind(share)
    signal = np.random.default_rng(3).normal(size=(sum(sizes), channels)) + 5.0
    found, start = [], 0
    biquad = Biquad(*coefficients)
    for size in sizes:
        found.append(biquad(signal[start : start + size]))
        start += size
    assert np.allclose(np.concatenate(found), one_by_one(coefficients, signal), atol=1e-8)


@pytest.mark.parametrize(("kind", "pass_share", "stop_share"), [(lowpass, 0.01, 0.2), (highpass, 0.2, 0.005)])
def test_half_the_power_is_left_at_the_cut(kind: object, pass_share: float, stop_share: float) -> None:
    def gain(share: float) -> float:
        assert callable(kind)
        wave = np.sin(2 * np.pi * share * np.arange(20000))[:, np.newaxis]
        return float(np.abs(Biquad(*kind(0.04))(wave)[10000:]).max())

    assert gain(0.04) == pytest.approx(np.sqrt(0.5), abs=0.002)
    assert gain(pass_share) == pytest.approx(1.0, abs=0.02)
    assert gain(stop_share) < 0.05


def test_a_filter_does_not_swing_in() -> None:
    still = np.full((500, 1), 9.81)
    assert np.allclose(Biquad(*lowpass(0.001))(still), 9.81)
    assert np.allclose(Biquad(*highpass(0.001))(still), 0.0, atol=1e-9)


def test_gravity_is_taken_out_however_the_sensor_lies() -> None:
    moments = np.arange(2000) / 100
    shake = np.stack([np.sin(2 * np.pi * 5 * moments), np.zeros(2000), 0.5 * np.sin(2 * np.pi * 3 * moments)], axis=1)
    for down in ((0, 0, 9.81), (6.9, 0, -6.9), (0, -9.81, 0)):
        moved = GravityFilter(0.4 / 100, rotate=False)(shake + np.array(down))
        assert np.abs(moved - shake)[500:].max() < 0.05


def test_turned_upright_it_does_not_matter_how_the_sensor_lies() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(50, 3))
    for _ in range(20):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)  # a rotation, no mirror
        gravity = np.tile(turn @ (0, 0, 9.81), (50, 1))
        found = upright(vectors @ turn.T, gravity)
        assert np.allclose(found[:, 2], vectors[:, 2])  # what lies around that axis is free
        assert np.allclose(np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=1))
        assert np.allclose(upright(gravity, gravity), (0, 0, 9.81), atol=1e-9)


def test_gravity_that_points_the_other_way_or_is_not_there() -> None:
    assert upright(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.0, -1.0]])).tolist() == [[1.0, -2.0, -3.0]]
    assert upright(np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 3))).tolist() == [[1.0, 2.0, 3.0]]


def test_filters_of_a_plan_in_their_order() -> None:
    made = make_filters(FilterPlan(highpass=1.0, lowpass=10.0, gravity="rotate"), 100.0)
    assert [type(each) for each in made] == [GravityFilter, Biquad, Biquad]
    assert make_filters(FilterPlan(), 100.0) == []
    assert not len(made[1](np.empty((0, 3))))


def test_what_cannot_be_filtered_is_refused() -> None:
    with pytest.raises(ModelError, match=r"`filter: lowpass` is at 60 Hz; at 100 samples a second .* below 50"):
        make_filters(FilterPlan(lowpass=60.0), 100.0)
    with pytest.raises(ModelError, match="three axes of acceleration, not for 2 values"):
        GravityFilter(0.01, rotate=False)(np.zeros((5, 2)))
