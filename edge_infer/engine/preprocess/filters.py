"""Signal filters in the time domain: high-pass, low-pass, and removal of gravity from acceleration.

High-pass and low-pass are Butterworth filters of second order by the bilinear transform (formulas: R. Bristow-Johnson,
"Audio EQ Cookbook", Q = 1/sqrt 2). Gravity is the output of a low-pass of `GRAVITY` Hz and is subtracted. With
``rotate`` the rest is rotated so that gravity points along the third axis (Rodrigues' formula). The orientation of the
sensor then has no influence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from edge_infer.config.plan import FilterPlan
from edge_infer.engine.preprocess.window import Rows
from edge_infer.errors import ModelError

GRAVITY: Final = 0.4
BLOCK: Final = 64
Filter: TypeAlias = Callable[[Rows], Rows]


def make_filters(plan: FilterPlan, rate: float) -> list[Filter]:
    """Return new filters of a plan for signals of ``rate``; raise `ModelError` if the rate is too low for them."""
    made: list[Filter] = []
    if plan.gravity is not None:
        made.append(GravityFilter(_below_nyquist("gravity", GRAVITY, rate), rotate=plan.gravity == "rotate"))
    if plan.highpass is not None:
        made.append(Biquad(*highpass(_below_nyquist("highpass", plan.highpass, rate))))
    if plan.lowpass is not None:
        made.append(Biquad(*lowpass(_below_nyquist("lowpass", plan.lowpass, rate))))
    return made


def _below_nyquist(name: str, frequency: float, rate: float) -> float:
    """Return the frequency as a share of the rate."""
    if not 0 < frequency < rate / 2:
        raise ModelError(
            f"the manifest's `filter: {name}` is at {frequency:g} Hz; at {rate:g} samples a second it has to lie "
            f"below {rate / 2:g}"
        )
    return frequency / rate


def lowpass(share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return coefficients b and a, with a[0] = 1; ``share`` is the -3 dB frequency divided by the rate."""
    cosine, alpha = math.cos(2 * math.pi * share), math.sin(2 * math.pi * share) / math.sqrt(2)
    return _normalized(((1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2), (1 + alpha, -2 * cosine, 1 - alpha))


def highpass(share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the coefficients like `lowpass`."""
    cosine, alpha = math.cos(2 * math.pi * share), math.sin(2 * math.pi * share) / math.sqrt(2)
    return _normalized(((1 + cosine) / 2, -1 - cosine, (1 + cosine) / 2), (1 + alpha, -2 * cosine, 1 - alpha))


def _normalized(b: tuple[float, ...], a: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(each / a[0] for each in b), tuple(each / a[0] for each in a)


class Biquad:
    """Filter ``y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`` along rows, state kept between calls.

    A loop over samples would be too slow in Python. The output of a block of `BLOCK` rows is one matrix times the rows
    plus one matrix times the previous state. Before its start the signal is assumed constant at its first row.
    """

    def __init__(self, b: tuple[float, ...], a: tuple[float, ...]) -> None:
        # Transposed direct form II: y = b0 x + s1; s1' = s2 + b1 x - a1 y; s2' = b2 x - a2 y.
        transition = np.array([[-a[1], 1.0], [-a[2], 0.0]])
        entry = np.array([b[1] - a[1] * b[0], b[2] - a[2] * b[0]])
        powers = [np.eye(2)]
        for _ in range(BLOCK):
            powers.append(transition @ powers[-1])
        self._powers = np.stack(powers)
        self._entries = np.stack([power @ entry for power in powers[:BLOCK]])
        response = np.concatenate(([b[0]], self._entries[: BLOCK - 1, 0]))
        lag = np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK))
        self._response = np.where(lag >= 0, response[np.maximum(lag, 0)], 0.0)
        self._settled = np.linalg.solve(np.eye(2) - transition, entry)
        self._state: Rows | None = None

    def __call__(self, rows: Rows) -> Rows:
        """Return the filtered rows."""
        if not len(rows):
            return rows
        if self._state is None:
            self._state = np.outer(self._settled, rows[0])
        parts = [self._block(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
        return np.concatenate(parts)

    def _block(self, rows: Rows) -> Rows:
        assert self._state is not None
        count = len(rows)
        out: Rows = self._response[:count, :count] @ rows + self._powers[:count, 0] @ self._state
        self._state = self._powers[count] @ self._state + self._entries[:count][::-1].T @ rows
        return out


class GravityFilter:
    """Filter that removes gravity from acceleration ``[n, 3]``, in any unit; see the module docstring."""

    def __init__(self, share: float, *, rotate: bool) -> None:
        self._lowpass = Biquad(*lowpass(share))
        self._rotate = rotate

    def __call__(self, rows: Rows) -> Rows:
        """Return the filtered rows; raise `ModelError` unless there are three axes."""
        if rows.shape[1] != 3:
            raise ModelError(f"`filter: gravity` is for the three axes of acceleration, not for {rows.shape[1]} values")
        gravity = self._lowpass(rows)
        moved = rows - gravity
        return upright(moved, gravity) if self._rotate else moved


def upright(vectors: Rows, gravity: Rows) -> Rows:
    """Rotate each vector by the rotation that moves its gravity to the third axis, ``(0, 0, +)``."""
    length = np.linalg.norm(gravity, axis=1)
    down = np.divide(gravity, length[:, np.newaxis], out=np.zeros_like(gravity), where=length[:, np.newaxis] > 0)
    down[length == 0] = (0.0, 0.0, 1.0)
    axis = np.stack((down[:, 1], -down[:, 0], np.zeros(len(down))), axis=1)  # down x (0, 0, 1), of length sin
    cosine = down[:, 2:]
    along = np.sum(axis * vectors, axis=1, keepdims=True)
    turned = vectors * cosine + np.cross(axis, vectors) + axis * along / np.maximum(1.0 + cosine, 1e-12)
    headlong = cosine[:, 0] < -1.0 + 1e-9  # any half turn is right: about the first axis
    turned[headlong] = vectors[headlong] * (1.0, -1.0, -1.0)
    return np.asarray(turned, np.float64)
