"""From a source's stretches to input tensors."""

from __future__ import annotations

import logging
import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Samples
from edge_infer.plan.records import FilterPlan, SignalPlan
from tests.engine.sounds import features_of, stretches, tensor, windows

MFCC = SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, low=20, high=4000)
RAW = SignalPlan("raw", 100, stride=0.05)
KINDS = {
    "raw": (RAW, tensor(1, 10, 2), 100.0, 2),
    "raw of another rate": (RAW, tensor(1, 10, 2), 250.0, 2),
    "filtered": (SignalPlan("raw", 100, filter=FilterPlan(highpass=1.0)), tensor(1, 10, 2), 100.0, 2),
    "mfcc": (SignalPlan("mfcc", 1000, window=0.03, hop=0.02, bins=13), tensor(1, 4, 5), 800.0, 2),
    "spectrum": (SignalPlan("spectrum", 1000, window=0.064, channels=2), tensor(1, 60), 1000.0, 2),
    "micro": (SignalPlan("micro", 16000), tensor(1, 3, 40), 16000.0, 1),
}


def ramp(count: int, channels: int = 1) -> np.ndarray:
    return np.repeat(np.arange(count, dtype=np.float32)[:, np.newaxis], channels, axis=1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 300), max_size=8))
def test_stretches_of_any_sizes_give_the_same_windows(kind: str, sizes: list[int]) -> None:
    plan, into, rate, channels = KINDS[kind]
    values = np.random.default_rng(2).normal(0, 0.2, (1000, channels)).astype(np.float32)
    whole = windows(SignalPreprocess(plan, into), stretches(values, rate))
    parts = windows(SignalPreprocess(plan, into), stretches(values, rate, sizes))
    assert len(whole) == len(parts) > 0
    for one, other in zip(whole, parts, strict=True):
        assert np.allclose(one.values, other.values, atol=1e-6)
        assert (one.gap, one.rate) == (other.gap, other.rate)


def test_times_are_those_of_the_last_sample() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    (part,) = stretches(ramp(23), 100)
    found = list(preprocess.frames(part))
    assert [frame.values[-1, 0] for frame in found] == [9, 14, 19]
    assert [frame.wall for frame in found] == pytest.approx([100.10, 100.15, 100.20])
    assert [frame.monotonic for frame in found] == pytest.approx([50.10, 50.15, 50.20])
    assert [frame.gap for frame in found] == [True, False, False]


@pytest.mark.parametrize("rate", [1.0, 4.0, 10.0, 44.1])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_resampled_step_has_the_time_at_which_it_came(rate: float, block: int) -> None:
    preprocess, count = SignalPreprocess(SignalPlan("raw", 2), tensor(1, 1)), int(120 * rate)
    rows = np.where(np.arange(count) / rate < 30.0, 0.0, 1.0).astype(np.float32)[:, np.newaxis]
    found = []
    for start in range(0, count, block):
        part = rows[start : start + block]
        end = (start + len(part) - 1) / rate
        found += preprocess.frames(Samples(part, rate, end, end, start))
    at = next(window.monotonic for window in found if window.values.item() > 0.5)
    assert abs(at - 30.0) <= max(0.5, 1 / rate)
    assert [window.monotonic for window in found] == pytest.approx([0.5 * n for n in range(len(found))], abs=1 / rate)


def test_times_of_rows_that_come_at_once_do_not_go_back() -> None:
    """Ten rows of one a second come within a second, as after a hold-up of the network."""
    made = SignalPreprocess(SignalPlan("raw"), tensor(1, 1))
    rows = np.zeros((10, 1), np.float32)
    moments = [
        (frame.wall, frame.monotonic)
        for number, (count, now) in enumerate([(1, 50.0), (10, 51.0), (3, 56.0), (1, 20.0)])
        for frame in made.frames(Samples(rows[:count], 1.0, now + 1000.0, now, number))
    ]
    expected = [50.0] * 10 + [51.0, 54.0, 55.0, 56.0, 20.0]  # at the end the clock is another one
    assert [monotonic for _, monotonic in moments] == expected
    assert [wall - 1000.0 for wall, _ in moments] == expected


def test_without_a_stride_windows_overlap_by_half() -> None:
    assert SignalPreprocess(SignalPlan("waveform", 16000), tensor(1, 15600)).stride == pytest.approx(0.4875)
    assert SignalPreprocess(SignalPlan("raw"), tensor(1, 1)).step == 1
    preprocess = SignalPreprocess(MFCC, tensor(1, 49, 10, 1))
    assert (preprocess.span, preprocess.stride, preprocess.turn) == pytest.approx((0.99, 0.495, 0.98))


def test_a_gap_ends_what_was_gathered() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    before, after = ramp(9), ramp(12) + 100
    assert not list(preprocess.frames(Samples(before, 100, 1.0, 1.0, 1, gap=True)))
    (found,) = preprocess.frames(Samples(after, 100, 2.0, 2.0, 2, gap=True))
    assert found.gap
    assert found.values[0, 0] == 100


def test_samples_that_are_no_numbers_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    good, bad = ramp(8), np.array([[1.0], [np.nan]], np.float32)
    with caplog.at_level(logging.WARNING):
        for number in range(1, 9):
            assert not list(preprocess.frames(Samples(good, 100, 1.0, 1.0, 2 * number - 1)))
            assert not list(preprocess.frames(Samples(bad, 100, 1.0, 1.0, 2 * number)))
    assert [record.args for record in caplog.records] == [(1,), (2,), (4,), (8,)]
    (found,) = preprocess.frames(Samples(ramp(10), 100, 1.0, 1.0, 18))
    assert found.gap


def test_samples_around_one_that_is_no_number_stay() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    values = ramp(41)
    values[[10, 15, 40]] = np.inf
    found = list(preprocess.frames(Samples(values, 100, 1.0, 1.0, 1, gap=True)))
    assert [(frame.values[0, 0], frame.gap) for frame in found] == [(0, True), (16, True), (21, False), (26, False)]
    assert [frame.monotonic for frame in found] == pytest.approx([0.69, 0.85, 0.90, 0.95])
    assert [frame.values[0, 0] for frame in preprocess.frames(Samples(ramp(10) + 100, 100, 1.1, 1.1, 2))] == [100]


def test_samples_before_one_that_is_no_number_are_not_dated_before_the_last_window() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    (first,) = preprocess.frames(Samples(ramp(10), 100, 1.0, 1.0, 1, gap=True))
    values = ramp(30)
    values[[12, 29]] = np.nan
    found = list(preprocess.frames(Samples(values, 100, 1.05, 1.05, 2)))
    times = [frame.monotonic for frame in (first, *found)]
    assert times == sorted(times)


def test_empty_stretches_change_nothing() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    empty = np.empty((0, 1), np.float32)
    assert not list(preprocess.frames(Samples(empty, 100, 1.0, 1.0, 1, gap=True)))
    assert not list(preprocess.frames(Samples(ramp(9), 100, 1.0, 1.0, 2)))
    assert not list(preprocess.frames(Samples(empty, 100, 1.0, 1.0, 3)))
    assert len(list(preprocess.frames(Samples(ramp(1), 100, 1.0, 1.0, 4)))) == 1
    assert not list(preprocess.rest(Samples(empty, 100, 1.0, 1.0, 5)))


def test_stereo_sound_becomes_its_mean() -> None:
    plan, into = SignalPlan("waveform", 1000), tensor(1, 100)
    left = np.random.default_rng(1).normal(size=(100, 1)).astype(np.float32)
    (one,) = features_of(plan, into, np.hstack([left, left * 3]), 1000)
    (other,) = features_of(plan, into, left * 2, 1000)
    assert np.allclose(one, other, atol=1e-6)


def test_samples_of_other_widths_are_refused_and_say_what_to_do() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 3))
    with pytest.raises(InputError, match=r"delivers 2 values at a time and the model takes 3; .*`columns`"):
        preprocess.frames(Samples(ramp(10, 2), 100, 1.0, 1.0, 1))


def test_a_flat_input_may_be_meant_for_several_values_and_the_error_says_how() -> None:
    def refused(size: int, width: int) -> str:
        with pytest.raises(InputError) as error:
            SignalPreprocess(RAW, tensor(1, size)).frames(Samples(ramp(10, width), 100, 1.0, 1.0, 1))
        return str(error.value)

    remedy = "set `input: {channels: 3}` in its manifest"
    assert refused(3, 3).endswith(f", or, if the 3 numbers of the model's flat input are samples of 3 values, {remedy}")
    assert remedy in refused(72, 3)
    assert refused(10, 3).endswith("select them with the source's `columns`, `channels` or `layout`")
    following = SignalPreprocess(replace(RAW, channels=3), tensor(1, 3))
    assert list(following.frames(Samples(ramp(10, 3), 100, 1.0, 1.0, 1)))


def test_a_rate_that_is_nearly_right_is_right() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    (found,) = preprocess.frames(Samples(ramp(12), 100.3, 1.0, 1.0, 1, gap=True))
    assert found.values[:, 0].tolist() == list(range(10))


def test_a_lower_rate_is_told_once_and_a_change_of_it_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    preprocess = SignalPreprocess(SignalPlan("waveform", 16000), tensor(1, 400))
    with caplog.at_level(logging.WARNING):
        for number in range(1, 4):
            list(preprocess.frames(Samples(ramp(150), 8000, 1.0, 1.0, number)))
    (told,) = [record.getMessage() for record in caplog.records]
    assert (
        "8000 samples a second instead of the 16000 that the model takes, so the model gets no frequencies above 4000"
        in told
    )
    (found,) = preprocess.frames(Samples(ramp(400), 16000, 1.0, 1.0, 4))
    assert found.gap
    assert found.values[0, 0] == 0


def test_without_a_rate_samples_are_taken_as_they_come() -> None:
    preprocess = SignalPreprocess(SignalPlan("raw", stride=2.0), tensor(1, 4, 1))
    for rate, begins in ((1.0, [0, 2, 4, 6]), (2.0, [0, 4])):
        found = list(preprocess.frames(Samples(ramp(10), rate, 1.0, 1.0, 1, gap=True)))
        assert [frame.values[0, 0] for frame in found] == begins
        assert found[0].rate == rate


@pytest.mark.parametrize(
    ("into", "stored"),
    [
        (tensor(1, 3), [-0.5, 0.25, 4.0]),
        (tensor(1, 3, dtype="float16"), [-0.5, 0.25, 4.0]),
        (tensor(1, 3, dtype="int8", scale=0.05, zero=10), [0, 15, 90]),
        (tensor(1, 3, dtype="uint8", scale=0.02, zero=128), [103, 140, 255]),
        (tensor(1, 3, dtype="int16", scale=1 / 32768), [-16384, 8192, 32767]),
        (tensor(1, 3, dtype="int32"), [0, 0, 4]),
    ],
)
def test_features_are_quantized_as_the_tensor_says(into: Tensor, stored: list[float]) -> None:
    values = np.array([[-0.5], [0.25], [4.0]], np.float32)
    (found,) = features_of(SignalPlan("raw", 10), into, values, 10)
    assert found.dtype.name == into.dtype
    assert found[0].tolist() == stored


def test_scale_peak_mean_and_std() -> None:
    values = np.array([[1.0, 10.0], [-2.0, 40.0]], np.float32)

    def found(**said: object) -> list[list[float]]:
        plan = SignalPlan("raw", 10, **said)  # type: ignore[arg-type]
        return features_of(plan, tensor(1, 2, 2), values, 10)[0][0].tolist()

    assert found(scale=0.5) == [[0.5, 5.0], [-1.0, 20.0]]
    assert found(peak=True) == [pytest.approx([0.025, 0.25]), pytest.approx([-0.05, 1.0])]
    assert found(mean=(1.0, 20.0), std=(0.5, 10.0)) == [[0.0, -1.0], [-6.0, 2.0]]
    assert found(mean=(1.0,)) == [[0.0, 9.0], [-3.0, 39.0]]


@pytest.mark.parametrize(
    ("plan", "into", "words"),
    [
        (SignalPlan("raw", 10), tensor(1, 3, dtype="complex64"), "is of complex64"),
        (SignalPlan("micro", 16000, peak=True), tensor(1, 3, 40), "`scale: peak` cannot be used with"),
        (SignalPlan("raw", 10, mean=(1.0, 2.0)), tensor(1, 3, 3), "`input: mean` has 2 numbers; expected one, or 3"),
        (SignalPlan("raw", 10, std=(0.0,)), tensor(1, 3, 3), "`input: std` is 0"),
        (SignalPlan("raw", filter=FilterPlan(lowpass=3.0)), tensor(1, 3, 3), "a `filter` needs the `rate`"),
        (SignalPlan("raw", 10, filter=FilterPlan(lowpass=7.0)), tensor(1, 3, 3), "must be below 5"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_sample(plan: SignalPlan, into: Tensor, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        SignalPreprocess(plan, into)


def test_silence_is_no_division_by_nothing() -> None:
    plan = SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, peak=True)
    (found,) = features_of(plan, tensor(1, 4, 10), np.zeros((1440, 1), np.float32), 16000)
    assert np.isfinite(found).all()


def test_without_its_package_the_micro_front_end_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    with pytest.raises(ModelError, match=r"pip install 'edge-infer\[micro\]'"):
        SignalPreprocess(SignalPlan("micro", 16000), tensor(1, 3, 40))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mfcc", "micro"])
def test_ten_hours_of_silence_take_no_memory(kind: str) -> None:
    """What is held after a minute is held after ten hours (of the micro front end, which takes longer, 20 minutes)."""
    plan = MFCC if kind == "mfcc" else SignalPlan("micro", 16000)
    into = tensor(1, 49, 10) if kind == "mfcc" else tensor(1, 49, 40)
    preprocess = SignalPreprocess(plan, into)
    long, count = np.zeros((16000 * 60, 1), np.float32), 0
    tracemalloc.start()
    try:
        held = []
        for minute in range(600 if kind == "mfcc" else 20):
            stretch = Samples(long, 16000, 60.0 * minute, 60.0 * minute, minute + 1)
            count += sum(1 for _ in preprocess.frames(stretch))
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(held[5:]) - held[1] < 200_000
    assert count > 60 * len(held) * 1.9


def test_a_block_that_becomes_much_longer_takes_little_memory() -> None:
    preprocess = SignalPreprocess(SignalPlan("raw", 6400, stride=1.0), tensor(1, 64, 1))
    block = Samples(np.zeros((60_000, 1), np.float32), 100.0, 700.0, 700.0, 1)
    assert list(preprocess.frames(Samples(block.values[:1000], 100.0, 100.0, 100.0, 0)))
    tracemalloc.start()
    found = list(preprocess.frames(block))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 600
    assert peak < 12 << 20, "all of it at once takes 30 MB, and twice that while it is put together"


def test_times_are_right_in_the_pieces_of_a_large_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=(2000, 1)).astype(np.float32)
    for rate in (100.0, 40.0):
        (block,) = stretches(values, rate)
        monkeypatch.setattr("edge_infer.engine.preprocess.signal.PIECE", 1 << 18)
        whole = list(SignalPreprocess(RAW, tensor(1, 10, 1)).frames(block))
        monkeypatch.setattr("edge_infer.engine.preprocess.signal.PIECE", 100)
        pieces = list(SignalPreprocess(RAW, tensor(1, 10, 1)).frames(block))
        assert [each.monotonic for each in pieces] == pytest.approx([each.monotonic for each in whole])
        assert np.allclose([each.values for each in pieces], [each.values for each in whole])


def test_a_rate_that_is_refused_ends_the_window_before() -> None:
    preprocess = SignalPreprocess(RAW, tensor(1, 10, 1))
    assert not list(preprocess.frames(Samples(ramp(6), 100.0, 1.0, 1.0, 1)))
    with pytest.raises(InputError, match="cannot be resampled to 100"):
        list(preprocess.frames(Samples(ramp(6), 0.5, 2.0, 2.0, 2)))
    assert not list(preprocess.frames(Samples(ramp(6), 100.0, 3.0, 3.0, 3)))
    (found,) = preprocess.frames(Samples(ramp(4), 100.0, 4.0, 4.0, 4))
    assert found.gap


@pytest.mark.parametrize("last", [5.0, math.nan])
def test_no_window_is_older_than_the_clock(last: float) -> None:
    """A recording with two rows an hour, on a board that has just started."""
    preprocess = SignalPreprocess(SignalPlan("raw", 0.03), tensor(1, 1))
    rows = np.array([[1.0]] * 60 + [[last]], np.float32)
    found = list(preprocess.frames(Samples(rows, 1 / 2000, 90.0, 40.0, 1)))
    assert found
    assert min(frame.monotonic for frame in found) >= 0.0
    assert min(frame.wall for frame in found) >= 0.0


@pytest.mark.parametrize(("dtype", "stored"), [("int8", [[127], [-128]]), ("uint8", [[255], [0]])])
def test_the_real_numbers_of_a_window_are_neither_rounded_nor_clipped(dtype: str, stored: list[list[int]]) -> None:
    into = tensor(1, 2, 1, dtype=dtype, scale=0.5, zero=10)
    preprocess = SignalPreprocess(SignalPlan("raw", 10, mean=(1.0,), std=(2.0,)), into)
    view = np.zeros(into.shape, into.dtype)
    preprocess(Samples(np.array([[1e6], [-1e6]], np.float32), 10.0, 0.0, 0.0, 1), view)
    assert view[0].tolist() == stored
    assert preprocess.real.tolist() == [[499_999.5], [-500_000.5]]
