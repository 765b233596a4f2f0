"""Operations on a stream of rows (one row per sample): filters, resampling, sliding windows.

Blocks may have any length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_infer.errors import InputError, ModelError
from edge_infer.plan.records import FilterPlan

# Sliding windows over a stream of rows, which arrives in blocks of any length.

Rows: TypeAlias = NDArray[np.float64]
"""``[n, values]``."""


class SlidingWindow:
    """Buffer that gathers rows into windows. The buffer holds at most one window and one added block."""

    def __init__(self, need: int, step: int) -> None:
        """Set the length of a window and the distance between windows, ``need`` and ``step`` rows, both at least 1."""
        self._need = need
        self._step = step
        self.clear()

    def clear(self) -> None:
        """Drop the gathered rows; the next row begins a new window."""
        self._blocks: list[Rows] = []
        self._count = 0
        self._skip = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows, possibly none."""
        if self._skip:
            rows = self._after_skip(rows)
        if count := len(rows):
            self._blocks.append(np.asarray(rows, np.float64))
            self._count += count

    def take(self) -> tuple[Rows, int] | None:
        """Return the next window, as a view, and the number of rows after it; None if no window is complete."""
        if self._count < self._need:
            return None
        rows = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        window, after = rows[: self._need], self._count - self._need
        rest = rows[self._step :]
        self._skip = max(0, self._step - self._count)
        self._blocks = [rest if len(rest) >= self._need else rest.copy()]  # a view would keep a large block in memory
        self._count = len(rest)
        return window, after

    def _after_skip(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Drop rows that lie between two windows at once; there are such rows if the step is longer than a window."""
        skipped = min(self._skip, len(rows))
        self._skip -= skipped
        return rows[skipped:]


# Signal filters in the time domain: high-pass, low-pass, and removal of gravity from acceleration.
#
# High-pass and low-pass are Butterworth filters of second order by the bilinear transform (formulas: R.
# Bristow-Johnson, "Audio EQ Cookbook", Q = 1/sqrt 2). Gravity is estimated by a low-pass of `GRAVITY` Hz and
# subtracted. With ``rotate`` the remaining acceleration is rotated so that gravity points along the third axis
# (Rodrigues' formula). The orientation of the sensor then has no influence.

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
    """Return the frequency divided by the rate; raise `ModelError` unless it is below half of the rate."""
    if not 0 < frequency < rate / 2:
        raise ModelError(
            f"the manifest's `filter: {name}` is at {frequency:g} Hz; at {rate:g} samples a second it must be "
            f"below {rate / 2:g}"
        )
    return frequency / rate


def lowpass(share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return coefficients b and a, with a[0] = 1; ``share`` is the -3 dB frequency divided by the rate."""
    cosine, alpha = math.cos(2 * math.pi * share), math.sin(2 * math.pi * share) / math.sqrt(2)
    return _normalized(((1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2), (1 + alpha, -2 * cosine, 1 - alpha))


def highpass(share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the same coefficients as `lowpass`, for a high-pass."""
    cosine, alpha = math.cos(2 * math.pi * share), math.sin(2 * math.pi * share) / math.sqrt(2)
    return _normalized(((1 + cosine) / 2, -1 - cosine, (1 + cosine) / 2), (1 + alpha, -2 * cosine, 1 - alpha))


def _normalized(b: tuple[float, ...], a: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(each / a[0] for each in b), tuple(each / a[0] for each in a)


class Biquad:
    """Filter ``y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`` along rows, state kept between calls.

    A loop over samples would be too slow in Python. The output of a block of `BLOCK` rows is therefore one matrix times
    the rows plus one matrix times the previous state. Before its start the signal is assumed to be constant at the
    value of its first row.
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
    """Filter that removes gravity from acceleration ``[n, 3]``, in any unit; see the comment above."""

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
    """Rotate each vector by the rotation that turns its gravity to the direction of the third axis, ``(0, 0, +)``."""
    length = np.linalg.norm(gravity, axis=1)
    down = np.divide(gravity, length[:, np.newaxis], out=np.zeros_like(gravity), where=length[:, np.newaxis] > 0)
    down[length == 0] = (0.0, 0.0, 1.0)
    axis = np.stack((down[:, 1], -down[:, 0], np.zeros(len(down))), axis=1)  # down x (0, 0, 1), with length sin(angle)
    cosine = down[:, 2:]
    along = np.sum(axis * vectors, axis=1, keepdims=True)
    turned = vectors * cosine + np.cross(axis, vectors) + axis * along / np.maximum(1.0 + cosine, 1e-12)
    headlong = cosine[:, 0] < -1.0 + 1e-9  # any half turn is correct: turn about the first axis
    turned[headlong] = vectors[headlong] * (1.0, -1.0, -1.0)
    return np.asarray(turned, np.float64)


# Resampling by windowed-sinc interpolation, seamless across blocks.
#
# Each output is a sum of samples weighted by a sinc, which extends over `ZEROS` zero crossings to both sides, under a
# Kaiser window. The cut-off is below the lower of the two Nyquist frequencies (method: J. O. Smith, "Digital Audio
# Resampling"). Measured: up to 0.8 of that Nyquist frequency the signal is correct within 0.01 %; at 0.9 it loses a
# quarter. Aliases are attenuated by 65 dB at the Nyquist frequency, and by 90 dB from 2 % above it on. The ratio of the
# rates is a fraction of whole numbers up to `LARGEST`, which is exact for all customary rates. Resampling from 44.1 to
# 16 kHz takes 5 ms for each second of sound on a desktop core.

ZEROS: Final = 32
ROLLOFF: Final = 0.92
BETA: Final = 8.6
LARGEST: Final = 4096
MOST_COEFFICIENTS: Final = 1 << 21
"""Maximum number of filter coefficients, which take 16 MiB. A ratio of rates that needs more (such as 48 kHz to 1 Hz)
is a mistake in the manifest."""
MOST_TIMES: Final = 64
"""Maximum number of outputs per sample. A signal with a lower rate is useless to a model, and its output would become
too large."""
_CHUNK: Final = 4096


class Resampler:
    """Resampler of blocks ``[n, channels]``; the delay is `ZEROS` samples of the lower rate."""

    def __init__(self, source: float, target: float) -> None:
        """Compute the filters; raise `InputError` if the rates are too different.

        A block results in at most `MOST_TIMES` times its rows. The caller limits the size of the blocks.
        """
        ratio = (Fraction(target) / Fraction(source)).limit_denominator(LARGEST)
        lower = min(1.0, target / source)
        self._reach = ceil(ZEROS / lower)
        self._rates = source, target
        if not ratio or ratio > MOST_TIMES or 2 * self._reach * ratio.numerator > MOST_COEFFICIENTS:
            raise InputError(f"the source delivers {source:g} samples a second; that cannot be resampled to {target:g}")
        self._up, self._down = ratio.numerator, ratio.denominator
        self._filters = _filters(self._up, self._reach, lower * ROLLOFF)
        self._rows: Rows | None = None
        self._first = self._made = self._came = 0

    def __call__(self, rows: Rows) -> Rows:
        """Add rows; return the output that needs no later rows. The signal is constant before its first sample."""
        if not len(rows):
            return rows
        if self._rows is None:
            if self._reach * rows.shape[1] > MOST_COEFFICIENTS:
                source, target = self._rates
                raise InputError(
                    f"the source delivers {source:g} samples a second of {rows.shape[1]} values; that cannot be "
                    f"resampled to {target:g}"
                )
            self._rows = np.repeat(rows[:1], self._reach, axis=0)
            self._first = -self._reach
        self._rows = np.concatenate((self._rows, rows))
        self._came += len(rows)
        end = ((self._came - self._reach) * self._up - 1) // self._down + 1  # first output that needs missing samples
        return self._up_to(max(end, self._made))

    def rest(self) -> Rows:
        """Return the remaining output at the end. After its last sample the signal is assumed to be constant."""
        if self._rows is None:
            return np.empty((0, 1))
        self._rows = np.concatenate((self._rows, np.repeat(self._rows[-1:], self._reach + 1, axis=0)))
        return self._up_to(ceil(self._came * self._up / self._down))

    @property
    def lag(self) -> float:
        """Seconds from the last output to the last sample received."""
        source, target = self._rates
        return (self._came - 1) / source - (self._made - 1) / target

    def _up_to(self, end: int) -> Rows:
        assert self._rows is not None
        parts = list(self._chunks(self._rows, end))
        self._made = end
        keep = max(0, self._made * self._down // self._up - self._reach + 1 - self._first)
        self._first += keep
        self._rows = self._rows[keep:].copy()
        return np.concatenate(parts) if parts else np.empty((0, self._rows.shape[1]))

    def _chunks(self, rows: Rows, end: int) -> Iterator[Rows]:
        """Yield the outputs from `_made` to ``end`` in chunks, which limits the memory of their windows."""
        if end <= self._made:
            return
        windows = sliding_window_view(rows, 2 * self._reach, axis=0)
        size = max(1, min(_CHUNK, (1 << 18) // (self._reach * rows.shape[1])))
        for start in range(self._made, end, size):
            positions = np.arange(start, min(start + size, end), dtype=np.int64) * self._down
            begins = positions // self._up - self._reach + 1 - self._first
            yield np.einsum("nck,nk->nc", windows[begins], self._filters[positions % self._up])


def _filters(up: int, reach: int, cutoff: float) -> Rows:
    """Return the coefficients of each of the ``up`` phases, ``[up, 2 * reach]``; for constant signals the gain is 1."""
    offsets = np.arange(-reach + 1, reach + 1)[np.newaxis] - np.arange(up)[:, np.newaxis] / up
    inside = np.sqrt(np.clip(1.0 - (offsets / reach) ** 2, 0.0, None))
    filters = np.sinc(cutoff * offsets) * np.i0(BETA * inside)
    filters /= filters.sum(axis=1, keepdims=True)
    return np.asarray(filters, np.float64)
