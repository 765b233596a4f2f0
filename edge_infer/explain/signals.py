"""Signals as cells: time and frequency for sound, time and axis for sensors.

Sound is cut in its short-time spectrum and put together again (weighted overlap-add: Allen and Rabiner, "A unified
approach to short-time Fourier analysis and synthesis", 1977), before the model's own features are computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.signal import MIXED
from edge_infer.explain.answers import ExplainedAnswer
from edge_infer.explain.pictures import Lines
from edge_infer.explain.sampling import Cells, Visible
from edge_infer.frames.frame import Samples
from edge_infer.plan.records import SignalPlan

Rows: TypeAlias = NDArray[np.float64]

CELL: Final = 0.05
"""Seconds of a cell of sound."""
MOST_TIMES: Final = 16
"""Maximum number of cells along the time."""
BANDS: Final = 8
"""Number of frequency bands, equally wide on the mel scale."""
MOST_AXES: Final = 8
"""Maximum number of cells across the axes; with more axes, several axes share a cell."""
FRAME: Final = 0.032
"""Seconds of a frame of the short-time spectrum."""


class SoundCells:
    """A window of sound in cells ``[times, bands]`` that can be silenced; a `Question` about one answer of a model."""

    fills = 1
    box = None

    def __init__(self, model: LoadedModel, windows: Sequence[Samples], answer: ExplainedAnswer, start: float) -> None:
        self._model, self._windows, self._answer = model, windows, answer
        rows = np.concatenate([window.values for window in windows]).astype(np.float64)
        rate = windows[0].rate
        seconds = len(rows) / rate
        self._length = 1 << max(4, round(np.log2(FRAME * rate)))
        self._rows = rows
        hop = self._length // 2
        angles = np.pi * (np.arange(self._length) + 0.5) / self._length
        self._shape_of_frame = np.sin(angles)  # its square adds up to 1 at half overlap
        padded = np.pad(rows, ((hop, self._length), (0, 0)))
        starts = np.arange(0, len(rows) + hop, hop)
        frames = np.stack([padded[start : start + self._length] for start in starts]) * self._shape_of_frame[:, None]
        self._spectrum = np.fft.rfft(frames, axis=1)
        times = int(np.clip(round(seconds / CELL), 1, MOST_TIMES))
        self.times = start + np.linspace(0.0, seconds, times + 1)
        self.bands = mel_lines(BANDS, rate / 2)
        middles = start + starts / rate
        self._time_of = np.clip(np.searchsorted(self.times, middles, side="right") - 1, 0, times - 1)
        hertz = np.fft.rfftfreq(self._length, 1 / rate)
        self._band_of = np.clip(np.searchsorted(self.bands, hertz, side="right") - 1, 0, BANDS - 1)
        self.shape = (times, BANDS)
        self.cells = times * BANDS

    def __call__(self, visible: Visible, fill: int) -> float:
        """Return the answer's strength with only these cells audible."""
        del fill
        kept = visible.reshape(self.shape)[self._time_of][:, self._band_of]
        frames = np.fft.irfft(self._spectrum * kept[:, :, None], self._length, axis=1) * self._shape_of_frame[:, None]
        hop = self._length // 2
        rows = np.zeros((hop * (len(frames) + 1), self._rows.shape[1]))
        rows[: hop * len(frames)] += frames[:, :hop].reshape(-1, rows.shape[1])
        rows[hop:] += frames[:, hop:].reshape(-1, rows.shape[1])
        return strength(self._model, self._windows, rows[hop : hop + len(self._rows)], self._answer)

    def inside(self) -> None:
        """Return None: an answer about a sound has no box."""

    def names(self) -> tuple[list[str], list[str]]:
        """Return the time of each cell, and its frequencies."""
        bands = [f"at {low:.0f} to {high:.0f} Hz" for low, high in pairwise(self.bands)]
        times = [f"at {low:.2f} to {high:.2f} s" for low, high in pairwise(self.times)]
        return [time for time in times for _ in bands], bands * len(times)

    def grid(self, evidence: Cells) -> Mapping[str, Any]:
        """Return the evidence with the limits in seconds of the recording and in Hz."""
        return {"seconds": self.times, "hertz": self.bands, "values": evidence.reshape(self.shape)}

    def loudness(self) -> Rows:
        """Return the level of each frame and frequency, ``[frames, frequencies]``, in decibels."""
        return np.asarray(20 * np.log10(np.abs(self._spectrum).mean(axis=2) + 1e-6), np.float64)


class RowCells:
    """A window of samples in cells ``[times, axes]`` that can be replaced; a `Question` about one answer of a model.

    A hidden cell has the mean of its axis; if that changes nothing, 0.
    """

    fills = 2
    box = None

    def __init__(
        self, model: LoadedModel, windows: Sequence[Samples], answer: ExplainedAnswer, start: float, plan: SignalPlan
    ) -> None:
        """Without a rate in the plan, a sample counts as a second."""
        self._model, self._windows, self._answer = model, windows, answer
        self.rows = np.concatenate([window.values for window in windows]).astype(np.float64)
        seconds = len(self.rows) / windows[0].rate
        count, axes = self.rows.shape
        times, groups = min(count, MOST_TIMES), min(axes, MOST_AXES)
        self.times = start + np.linspace(0.0, seconds, times + 1)
        self.axes = np.linspace(0, axes, groups + 1)
        self._time_of = np.arange(count) * times // count
        self._axis_of = np.arange(axes) * groups // axes
        self.shape = (times, groups)
        self.cells = times * groups
        mean = self.rows.mean(axis=0, keepdims=True) if count > 1 else self.rows.mean(keepdims=True)
        self.unit = "s" if plan.rate is not None else "samples"
        self._axis = ("band", "bands") if plan.features == "micro" else ("axis", "axes")
        self._means = np.broadcast_to(mean, self.rows.shape)

    def __call__(self, visible: Visible, fill: int) -> float:
        """Return the answer's strength with only these cells visible."""
        kept = visible.reshape(self.shape)[self._time_of][:, self._axis_of]
        rows = np.where(kept, self.rows, self._means if fill == 0 else 0.0)
        return strength(self._model, self._windows, rows, self._answer)

    def inside(self) -> None:
        """Return None: an answer about samples has no box."""

    def names(self) -> tuple[list[str], list[str]]:
        """Return the time of each cell, and its axes."""
        axes = [_axes(low, high, self._axis) for low, high in pairwise(self.axes.tolist())]
        times = [f"at {low:.3g} to {high:.3g} {self.unit}" for low, high in pairwise(self.times)]
        return [time for time in times for _ in axes], axes * len(times)

    def grid(self, evidence: Cells) -> Mapping[str, Any]:
        """Return the evidence with the limits in seconds of the recording (without a rate: samples) and of the axes."""
        return {"seconds": self.times, "axes": self.axes, "values": evidence.reshape(self.shape)}


def _axes(low: float, high: float, axis: tuple[str, str]) -> str:
    first, last = math.ceil(low), math.ceil(high) - 1
    return f"in {axis[0]} {first}" if first == last else f"in {axis[1]} {first} to {last}"


def signal_cells(
    model: LoadedModel, plan: SignalPlan, windows: Sequence[Samples], answer: ExplainedAnswer, start: float
) -> SoundCells | RowCells:
    """Return the cells of a window that begins at this second of its recording.

    Several windows are those that a model with a memory takes one after the other.
    """
    sound = plan.features in MIXED and plan.features != "micro" and plan.rate is not None
    return SoundCells(model, windows, answer, start) if sound else RowCells(model, windows, answer, start, plan)


def strength(model: LoadedModel, windows: Sequence[Samples], rows: Rows, answer: ExplainedAnswer) -> float:
    """Return the answer's strength for the last window, after a model with a memory has taken the windows before it."""
    if model.interpreter.remembers:
        model.interpreter.forget()
    start = 0
    for window in windows:
        end = start + len(window.values)
        look = model.look(replace(window, values=rows[start:end].astype(np.float32)))
        start = end
    return answer.strength(look)


def mel_lines(count: int, highest: float) -> Lines:
    """Return the limits in Hz of bands that are equally wide on the mel scale (HTK's formula)."""
    return np.asarray(700 * np.expm1(np.linspace(0, np.log1p(highest / 700), count + 1)), np.float64)
