from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_infer.engine.preprocess.row_filters import ZEROS, Resampler
from edge_infer.errors import InputError

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 16000), (104, 26), (25, 26), (99.7, 100)]


def through(resampler: Resampler, signal: np.ndarray, sizes: list[int] | None = None) -> np.ndarray:
    parts, start = [], 0
    for size in [*(sizes or []), len(signal)]:
        parts.append(resampler(signal[start : start + size]))
        start += size
    return np.concatenate([*parts, resampler.rest()])


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_a_sine_is_the_same_sine_at_the_other_rate(source: float, target: float, share: float) -> None:
    hertz = share * min(source, target) / 2
    found = through(Resampler(source, target), np.sin(2 * np.pi * hertz * np.arange(8000) / source)[:, np.newaxis])
    wanted = np.sin(2 * np.pi * hertz * np.arange(len(found)) / target)
    inside = slice(2 * ZEROS, len(found) - 2 * ZEROS)
    assert np.abs(found[inside, 0] - wanted[inside]).max() < 1e-4
    assert len(found) == math.ceil(8000 * target / source - 1e-6)


@pytest.mark.parametrize(("source", "target"), [(44100, 16000), (48000, 16000), (104, 26)])
@pytest.mark.parametrize("share", [1.02, 1.05, 1.3])
def test_what_would_fold_back_is_gone(source: int, target: int, share: float) -> None:
    hertz = share * target / 2
    found = Resampler(source, target)(np.sin(2 * np.pi * hertz * np.arange(8000) / source + 0.3)[:, np.newaxis])
    assert 20 * np.log10(np.abs(found[2 * ZEROS :]).max()) < -85


@settings(max_examples=40)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 400), max_size=10))
def test_blocks_of_any_sizes_give_the_same_signal(rates: tuple[float, float], sizes: list[int]) -> None:
    signal = np.random.default_rng(1).normal(size=(1500, 2))
    assert np.allclose(through(Resampler(*rates), signal, sizes), through(Resampler(*rates), signal), atol=1e-12)


def test_what_stands_still_stays_as_it_is_from_the_first_to_the_last() -> None:
    found = through(Resampler(50, 26), np.full((300, 3), 9.81))
    assert found.shape == (156, 3)
    assert np.allclose(found, 9.81, atol=1e-12)


def test_little_is_kept_however_much_goes_through() -> None:
    resampler = Resampler(44100, 16000)
    for _ in range(50):
        resampler(np.zeros((4410, 1)))
    assert resampler._rows is not None
    assert len(resampler._rows) < 4 * resampler._reach


def test_nothing_gives_nothing() -> None:
    resampler = Resampler(8000, 16000)
    assert not len(resampler.rest())
    assert not len(resampler(np.empty((0, 1))))


@pytest.mark.parametrize(("source", "target"), [(1e6, 1e-2), (48000, 1), (0.5, 16000), (100, 6500)])
def test_rates_that_lie_too_far_apart_are_refused(source: float, target: float) -> None:
    with pytest.raises(InputError, match="that cannot be resampled to"):
        Resampler(source, target)


def test_many_values_of_a_signal_that_is_much_faster_are_refused() -> None:
    resampler = Resampler(4000, 1)
    with pytest.raises(InputError, match="4000 samples a second of 17 values; that cannot be resampled to 1"):
        resampler(np.zeros((1, 17)))
