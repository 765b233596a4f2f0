"""Features against plain implementations of their definitions, in loops and double precision."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from edge_infer.engine.preprocess.features import make_features
from edge_infer.engine.preprocess.spectrum import bands, frequencies, mel_bands
from edge_infer.errors import ModelError
from edge_infer.plan.records import SignalPlan
from tests.engine.sounds import features_of, tensor

MFCC = SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, low=20, high=4000)


def noise(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 0.1, (count, channels)).astype(np.float32)


def amplitudes(frame: list[float], size: int) -> list[float]:
    """The Fourier sum, frequency by frequency."""
    windowed = [x * (0.5 - 0.5 * math.cos(2 * math.pi * n / len(frame))) for n, x in enumerate(frame)]
    found = []
    for k in range(size // 2 + 1):
        real = sum(x * math.cos(2 * math.pi * k * n / size) for n, x in enumerate(windowed))
        imaginary = sum(x * math.sin(2 * math.pi * k * n / size) for n, x in enumerate(windowed))
        found.append(math.hypot(real, imaginary))
    return found


def htk(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)


def mel_sums(spectrum: list[float], rate: float, count: int, low: float, high: float) -> list[float]:
    """TensorFlow's matrix, applied: triangles between edges that are equally far apart in mel; 0 Hz counts nowhere."""
    edges = [htk(low) + (htk(high) - htk(low)) * index / (count + 1) for index in range(count + 2)]
    sums = []
    for band in range(count):
        left, middle, right = edges[band : band + 3]
        total = 0.0
        for k in range(1, len(spectrum)):
            mel = htk(k * rate / (2 * (len(spectrum) - 1)))
            total += spectrum[k] * max(0.0, min((mel - left) / (middle - left), (right - mel) / (right - middle)))
        sums.append(total)
    return sums


def test_cepstral_coefficients_are_those_of_the_definition() -> None:
    signal = noise(480 + 320)
    (found,) = features_of(MFCC, tensor(1, 2, 10, 1), signal, 16000)
    for index in range(2):
        frame = [float(x) for x in signal[index * 320 : index * 320 + 480, 0]]
        logs = [math.log(x + 1e-6) for x in mel_sums(amplitudes(frame, 512), 16000, 40, 20, 4000)]
        wanted = [
            math.sqrt(2 / 40) * sum(x * math.cos(math.pi * k * (n + 0.5) / 40) for n, x in enumerate(logs))
            for k in range(10)
        ]
        assert found[0, index, :, 0] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_log_mel_in_decibels_of_power() -> None:
    signal = noise(400)
    plan = SignalPlan("log_mel", 16000, window=0.025, bins=20, low=100, power=2, log="db", floor=1e-10)
    (found,) = features_of(plan, tensor(1, 20), signal, 16000)
    powers = [x * x for x in amplitudes([float(x) for x in signal[:, 0]], 512)]
    wanted = [10 * math.log10(x + 1e-10) for x in mel_sums(powers, 16000, 20, 100, 8000)]
    assert found[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["htk", "slaney"])
def test_mel_bands_rise_to_their_middle_and_fall(kind: Literal["htk", "slaney"]) -> None:
    matrix = mel_bands(2048, 16000, 30, (0, 8000), kind)
    assert (matrix >= 0).all()
    assert (np.diff(np.argmax(matrix, axis=0)) > 0).all()
    for band in matrix.T:
        top = int(np.argmax(band))
        assert (np.diff(band[: top + 1]) >= 0).all()
        assert (np.diff(band[top:]) <= 0).all()
    if kind == "slaney":  # each has the area of one in Hz
        assert matrix.sum(axis=0) * 16000 / 2048 == pytest.approx(np.ones(30), abs=0.03)


def test_slaney_mel_is_linear_below_1000_hz() -> None:
    tops = np.argmax(mel_bands(1 << 16, 16000, 40, (0, 8000), "slaney"), axis=0) * 16000 / (1 << 16)
    assert np.diff(tops[tops < 900]) == pytest.approx(np.full((tops < 900).sum() - 1, tops[0]), abs=0.6)
    ratios = tops[1:][tops[:-1] > 1100] / tops[:-1][tops[:-1] > 1100]
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0]), rel=1e-3)


@pytest.mark.parametrize("axes", [1, 3])
def test_a_spectrum_has_the_amplitude_of_a_vibration_in_its_band(axes: int) -> None:
    rate, count = 1000, 1024
    wave = 2.5 * np.sin(2 * np.pi * 125 * np.arange(count) / rate)
    signal = np.stack([wave * (axis + 1) for axis in range(axes)], axis=1).astype(np.float32)
    plan = SignalPlan("spectrum", rate, window=1.024, channels=axes, bins=512, low=0, high=500)
    (found,) = features_of(plan, tensor(1, 512 * axes), signal, rate)
    for axis in range(axes):
        band = found[0, axis * 512 : (axis + 1) * 512]
        assert abs(int(np.argmax(band)) - 128) <= 1
        assert band.max() == pytest.approx(2.5 * (axis + 1), rel=0.01)
        assert band[300:].max() < 0.001


def test_bands_are_means_and_leave_no_frequency_out() -> None:
    matrix = bands(256, 1000, 8, 100, 400)
    assert matrix.sum(axis=0) == pytest.approx(np.ones(8))
    inside = (frequencies(256, 1000) >= 100) & (frequencies(256, 1000) <= 400)
    assert ((matrix > 0).sum(axis=1) == inside).all()
    assert bands(16, 1000, 100, 0, 500).sum(axis=0) == pytest.approx(np.ones(100))  # narrower than its frequencies


@pytest.mark.parametrize(
    ("plan", "shape", "size"),
    [
        (MFCC, (1, 49, 10, 1), (49, 10, 15840)),
        (MFCC, (1, 1, 49, 10), (49, 10, 15840)),
        (SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, coefficients=10), (1, 490), (49, 10, 15840)),
        (SignalPlan("micro", 16000, hop=0.02), (1, 1960), (49, 40, 97)),
        (SignalPlan("micro", 16000), (1, 3, 40), (3, 40, 3)),
        (SignalPlan("micro", 16000), (1, 40), (1, 40, 1)),
        (SignalPlan("waveform", 16000), (15600,), (15600, 1, 15600)),
        (SignalPlan("waveform", 16000), (1, 16000, 1), (16000, 1, 16000)),
        (SignalPlan("raw", 26), (1, 24, 3, 1), (24, 3, 24)),
        (SignalPlan("raw", 26, channels=3), (1, 72), (24, 3, 24)),
        (SignalPlan("raw", 26), (1, 24), (24, 1, 24)),
        (SignalPlan("raw"), (1, 1), (1, 1, 1)),
        (SignalPlan("log_mel", 16000, window=0.064, hop=0.032), (1, 5, 128), (5, 128, 3072)),
        (SignalPlan("log_mel", 16000, window=0.064, hop=0.032, bins=128), (1, 640), (5, 128, 3072)),
        (SignalPlan("spectrum", 1000, window=1.0), (1, 100), (1, 100, 1000)),
    ],
)
def test_the_shape_says_how_much_goes_in(plan: SignalPlan, shape: tuple[int, ...], size: tuple[int, int, int]) -> None:
    found = make_features(plan, tensor(*shape))
    assert (found.frames, found.values, found.need) == size


@pytest.mark.parametrize(
    ("plan", "shape", "words"),
    [
        (MFCC, (1, 49, 41), "41 coefficients need at least as many mel bands, but `bins` is 40"),
        (MFCC, (2, 49, 10), "with a batch of 1"),
        (MFCC, (1, 7, 49, 10), r"\[1, 7, 49, 10\]; a signal needs"),
        (MFCC, (1, 490), "is flat; set `coefficients`"),
        (
            SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, coefficients=9),
            (1, 490),
            "not a whole number of fra",
        ),
        (SignalPlan("mfcc", 16000, window=0.03, hop=0.02), (1, 49, 10), "needs `bins`"),
        (SignalPlan("mfcc", 16000, hop=0.02, bins=40), (1, 49, 10), "needs `window`"),
        (SignalPlan("mfcc", 16000, window=0.03, bins=40), (1, 49, 10), "needs `hop`, such as"),
        (SignalPlan("mfcc"), (1, 49, 10), "needs the `rate`"),
        (SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, high=9000), (1, 49, 10), "there are 0 to 8000"),
        (SignalPlan("mfcc", 16000, window=0.03, hop=0.02, bins=40, low=9, high=5), (1, 49, 10), "low: 9` to `high: 5"),
        (
            SignalPlan("log_mel", 16000, window=0.03, hop=0.02, bins=64),
            (1, 49, 40),
            "40 values in each frame, but .* 64",
        ),
        (SignalPlan("log_mel", 16000, window=0.03, hop=0.02), (1, 640), "is flat; set `bins`"),
        (SignalPlan("micro", 8000), (1, 49, 40), "works at a `rate` of 16000"),
        (SignalPlan("micro", 16000, hop=0.015), (1, 49, 40), "a frame every 10 ms"),
        (SignalPlan("micro", 16000), (1, 49, 41), "41 values in each frame"),
        (SignalPlan("waveform", 16000), (1, 100, 2), "a waveform has one channel"),
        (
            SignalPlan("raw", 10, channels=4),
            (1, 24, 3),
            r"3 values in each frame, but the manifest requires 4 \(`channels`\)",
        ),
        (SignalPlan("raw", 10), (1, 0), "a signal needs"),
        (SignalPlan("spectrum", 1000, window=1.0, channels=3), (1, 100), "not a whole number of bands for 3"),
    ],
)
def test_what_does_not_fit_the_tensor_is_told(plan: SignalPlan, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        make_features(plan, tensor(*shape))
