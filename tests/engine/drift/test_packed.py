"""The compact form of a reference: exact enough, refused when damaged, and never larger than what is kept."""

from __future__ import annotations

import base64
from typing import get_args

import numpy as np
import pytest

from edge_infer.contract.codec import decode_json, dumps
from edge_infer.engine.drift.camera import Signal
from edge_infer.engine.drift.outcome import BINS, LEAST_SPREAD
from edge_infer.engine.drift.packed import pack_appearance, pack_signal, unpack_appearance, unpack_signal
from edge_infer.engine.drift.statistics import DailySignal
from edge_infer.ipc.drift import (
    MAX_APPEARANCES,
    MAX_LABELS,
    MAX_REFERENCE_BYTES,
    CameraReference,
    DriftReference,
    OutcomeReference,
)


def _appearance(seed: int) -> str:
    edges = np.random.default_rng(seed).random(100).astype(np.float32) * 1e4
    return pack_appearance(1234567.8, (0.123456, -7.123456, -5.123456), edges[:64], edges[64:])


def _signal(seed: int) -> DailySignal:
    draw, signal, before = np.random.default_rng(seed), DailySignal(), None
    for step in range(2000):
        before = signal.add(step // 4 % 24, -6.0 + 0.1 * float(draw.standard_normal()), before, varying=step > 500)
    return signal


def test_what_is_packed_comes_back() -> None:
    weight, levels, columns, rows = unpack_appearance(_appearance(1))
    edges = np.random.default_rng(1).random(100).astype(np.float32) * 1e4
    assert (weight, levels) == (pytest.approx(1234567.8), pytest.approx((0.123456, -7.123456, -5.123456)))
    assert np.concatenate((columns, rows)) == pytest.approx(edges, abs=1e4 / 255)
    signal = _signal(2)
    found = unpack_signal(pack_signal(signal))
    assert found.counts == signal.counts
    assert found.means == pytest.approx(signal.means, abs=1e-5)
    assert found.step_spread() == pytest.approx(signal.step_spread(), rel=1e-9)
    assert found.correlation() == pytest.approx(signal.correlation(), rel=1e-9)


def test_a_signal_without_windows_or_with_many_can_be_packed() -> None:
    assert unpack_signal(pack_signal(DailySignal())).counts == [0] * 24
    many = DailySignal(counts=[100_000] * 24, means=[5.0] * 24)
    assert unpack_signal(pack_signal(many)).counts == [255] * 24
    assert unpack_signal(pack_signal(many)).means == [5.0] * 24


@pytest.mark.parametrize("levels", [(0.5, 1e30, 0.0), (0.5, 0.0, -1e30), (-5.0, 0.0, 0.0), (1.5, 0.0, 0.0)], ids=str)
def test_an_appearance_that_no_picture_has_is_refused(levels: tuple[float, float, float]) -> None:
    edges = np.ones(100, np.float32)
    with pytest.raises(ValueError, match="impossible for a picture"):
        unpack_appearance(pack_appearance(3.0, levels, edges[:64], edges[64:]))
    with pytest.raises(ValueError, match="no weight"):
        unpack_appearance(pack_appearance(1e30, (0.5, 0.0, 0.0), edges[:64], edges[64:]))


def test_hostile_sums_of_a_signal_are_refused_or_harmless() -> None:
    tiny = DailySignal([100] * 24, [1.0] * 24, residuals=8, squares=5e-324, pairs=8, products=5e-324)
    assert unpack_signal(pack_signal(tiny)).correlation() < 1.0
    assert unpack_signal(pack_signal(tiny)).step_spread() == 0.0
    for changes in ({"squares": 1e200}, {"products": -1e200}, {"pairs": 900}):
        hostile = DailySignal([100] * 24, [1.0] * 24, **{"residuals": 800, "squares": 1.0, "pairs": 8, **changes})
        with pytest.raises(ValueError, match="inconsistent"):
            unpack_signal(pack_signal(hostile))
    large = DailySignal([100] * 24, [1e300] * 24)
    assert unpack_signal(pack_signal(large)).means == [1e9] * 24


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"\xff" * 12 + data[12:], lambda data: b""])
def test_a_damaged_text_is_refused(change: object) -> None:
    for packed, unpack in ((_appearance(1), unpack_appearance), (pack_signal(_signal(1)), unpack_signal)):
        damaged = base64.b64encode(change(base64.b64decode(packed))).decode()  # type: ignore[operator]
        with pytest.raises(ValueError):
            unpack(damaged)


def test_a_reference_of_everything_that_there_can_be_is_kept() -> None:
    """A month of a quick detector of many labels, in a scene with all appearances, under the longest name."""
    camera = CameraReference(
        "c" * 16, 10**7, 24.123456, tuple(map(_appearance, range(MAX_APPEARANCES))),
        dict.fromkeys(get_args(Signal), (123456, 123456.123456, 123456.123456)),
    )  # fmt: skip
    outcome = OutcomeReference(
        "o" * 16, 10**8, 720.1234, (99999,) * MAX_LABELS,
        {name: pack_signal(_signal(number)) for number, name in enumerate((*LEAST_SPREAD, "value"))},
        dict.fromkeys(BINS, (10**8,) * 10),
    )  # fmt: skip
    packed = dumps(DriftReference("n" * 64, camera, outcome))
    assert len(packed) <= MAX_REFERENCE_BYTES
    assert decode_json(DriftReference, packed).outcome == outcome
