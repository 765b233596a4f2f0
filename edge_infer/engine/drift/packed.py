"""Compact encoding of a drift reference, so that the whole reference fits into 4 KB."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any, Final

import numpy as np

from edge_infer.engine.drift.picture import COLUMNS, ROWS, Profile
from edge_infer.engine.drift.statistics import HOURS, DailySignal

_APPEARANCE: Final = struct.Struct(f"<5f{COLUMNS + ROWS}B")
_SIGNAL: Final = struct.Struct(f"<2f2I2d{HOURS}B{HOURS}H")
_MOST_COUNT: Final = 255
"""Maximum stored number of windows for each hour of the day."""
_STEPS: Final = 65535
_MOST_LEVEL: Final = 64.0
"""Maximum detail and sharpness of a picture in octaves; pictures with eight bits have less."""
_MOST_MEAN: Final = 1e9
_MOST_SQUARES: Final = 1e20


def pack_appearance(weight: float, levels: tuple[float, float, float], columns: Profile, rows: Profile) -> str:
    """Return an appearance as base64: weight, light, detail, sharpness, and the edge profiles in 255 steps each."""
    edges = np.concatenate((columns, rows))
    scale = max(1e-3, float(edges.max()))
    steps = np.rint(edges / scale * 255).astype(np.uint8)
    return base64.b64encode(_APPEARANCE.pack(weight, *levels, scale, *steps.tolist())).decode()


def unpack_appearance(packed: str) -> tuple[float, tuple[float, float, float], Profile, Profile]:
    """Return the arguments of `pack_appearance`; raises ValueError for a damaged text."""
    weight, light, detail, sharpness, scale, *steps = _unpacked(_APPEARANCE, packed)
    if not (0.0 < weight <= _MOST_MEAN and 0.0 < scale <= _MOST_MEAN):
        raise ValueError("an appearance has no weight or no edges")
    if not (0.0 <= light <= 1.0 and abs(detail) <= _MOST_LEVEL and abs(sharpness) <= _MOST_LEVEL):
        raise ValueError("an appearance that is impossible for a picture")
    edges = np.asarray(steps, np.float32) * np.float32(scale / 255)
    return weight, (light, detail, sharpness), edges[:COLUMNS], edges[COLUMNS:]


def pack_signal(signal: DailySignal) -> str:
    """Return a signal as base64: its residuals, its counts by hour, and its means by hour as steps of their range."""
    known = [mean for count, mean in zip(signal.counts, signal.means, strict=True) if count] or [0.0]
    known = [max(-_MOST_MEAN, min(_MOST_MEAN, mean)) for mean in known]
    low, high = min(known), max(known)
    steps = [round((min(max(mean, low), high) - low) / (high - low or 1.0) * _STEPS) for mean in signal.means]
    counts = [min(count, _MOST_COUNT) for count in signal.counts]
    sums = signal.residuals, signal.pairs, signal.squares, signal.products
    return base64.b64encode(_SIGNAL.pack(low, high, *sums, *counts, *steps)).decode()


def unpack_signal(packed: str) -> DailySignal:
    """Return the signal that `pack_signal` encoded; raises ValueError for a damaged text."""
    low, high, residuals, pairs, squares, products, *hours = _unpacked(_SIGNAL, packed)
    sums = 0.0 <= squares <= _MOST_SQUARES and abs(products) <= _MOST_SQUARES and pairs <= residuals
    if not (-_MOST_MEAN <= low <= high <= _MOST_MEAN and sums):
        raise ValueError("the numbers of a signal are inconsistent")
    means = [low + (high - low) * step / _STEPS for step in hours[HOURS:]]
    return DailySignal(hours[:HOURS], means, residuals, squares, pairs, products)


def _unpacked(form: struct.Struct, packed: str) -> list[Any]:
    data = base64.b64decode(packed, validate=True)
    if len(data) != form.size:
        raise ValueError(f"{len(data)} bytes instead of {form.size}")
    numbers = list(form.unpack(data))
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number that is not finite")
    return numbers
