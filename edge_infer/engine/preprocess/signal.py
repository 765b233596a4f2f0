"""Preprocessing of signals: channels, rate, filters, windows, features, quantization, in this order.

- **Channels**: for sound (``waveform``, ``mfcc``, ``log_mel``, ``micro``) all channels of a source are averaged. For
  ``raw`` and ``spectrum`` a source must have as many channels as the model takes.
- **Rate**: a source whose rate is within half a percent of the model's rate is used unchanged; any other is resampled.
  A source with a lower rate contains nothing above its own Nyquist frequency; this is logged once.
- **Windows**: the tensor's shape defines the length of a window (the input of one inference), ``stride`` the distance
  between windows.
- **Gaps**: missing or non-finite samples reset windows and filters. The next window begins after the gap and is marked
  with ``gap``, so that a model that keeps a state is also reset.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.features import MICRO_STEP, MicroFrontend, make_features
from edge_infer.engine.preprocess.row_filters import Resampler, Rows, SlidingWindow, make_filters
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Samples, Signal
from edge_infer.frames.geometry import NO_PLACE, Transform
from edge_infer.plan.records import FilterPlan, SignalPlan
from edge_infer.platform.rate_limits import LogThrottle

log = logging.getLogger(__name__)

SAME_RATE: Final = 0.005
PIECE: Final = 1 << 18
"""Maximum number of values (at the model's rate, in double precision) that are computed at once, because a block may
become 64 times as large."""
MIXED: Final = ("waveform", "mfcc", "log_mel", "micro")
FLOATS: Final = ("float32", "float16")
INTEGERS: Final = ("uint8", "int8", "int16", "int32")


class SignalPreprocess:
    """Preprocessing that fills the input tensor with one window of a signal. Only one thread may use it."""

    def __init__(self, plan: SignalPlan, tensor: Tensor) -> None:
        """Prepare the stages; raise `ModelError` unless the features fill the tensor."""
        if tensor.dtype not in FLOATS + INTEGERS:
            raise ModelError(f"its input {tensor.name} is of {tensor.dtype}; a signal needs 8-bit, int16 or float")
        if plan.peak and plan.features == "micro":
            raise ModelError("`scale: peak` cannot be used with `features: micro`, which has its own gain control")
        self._plan = plan
        self._tensor = tensor
        self._features = make_features(plan, tensor)
        self._mean = _per_value("mean", plan.mean, self._features.values)
        self._std = _per_value("std", plan.std, self._features.values)
        self._scaled = bool(plan.mean or plan.std)
        self._channels = self._features.values if plan.features == "raw" else plan.channels
        self._columns = self._picked(plan)
        self._refused = 0
        self._rarely = LogThrottle(600.0)
        self._fresh = True
        self.real: Rows = np.empty((0, 0))
        """Features of the last window, before they were rounded and clipped to the tensor's type."""
        self.step = 1
        """Distance between two windows, in samples or steps of the micro front end."""
        if plan.rate is None and plan.filter != FilterPlan():
            raise ModelError("a `filter` needs the `rate` that the model was trained with")
        self._rate = plan.rate or 1.0
        self._moment = -math.inf  # time of the last window
        self._open(self._rate)  # a missing package is reported now, not with the first sample

    @property
    def frames_of(self) -> tuple[int, int]:
        """Number of feature frames in a window, and number of values per frame."""
        return self._features.frames, self._features.values

    @property
    def need(self) -> int:
        """Number of rows in one window of `frames`."""
        return self._features.need

    @property
    def span(self) -> float:
        """Length of a window in seconds; without a rate, in samples."""
        return self._features.need / self._row_rate

    @property
    def turn(self) -> float:
        """Distance between windows, in seconds, at which no feature frame is repeated or skipped."""
        return self._features.frames * self._features.hop / self._row_rate

    @property
    def stride(self) -> float:
        """Seconds between the starts of two windows."""
        return self.step / self._row_rate

    @property
    def described_need(self) -> str:
        """Length of a window as text for people."""
        if self._plan.features == "raw":
            return f"{self._features.need} sample{'' if self._features.need == 1 else 's'}"
        return f"{self.span:.3g} s"

    def frames(self, taken: Samples) -> Iterator[Samples]:
        """Return the windows that these samples complete. The time of a window is the time of its last sample.

        Large blocks are processed piece by piece, while the windows are being consumed.
        """
        values = taken.values
        if np.count_nonzero(np.isfinite(values)) != values.size:
            return self._between(taken)
        if taken.gap or taken.rate != self._rate:
            self._open(taken.rate)
        if values.size * self._front.times <= PIECE:  # usual
            self._windows.add(self._front(self._mixed(values)))
            return self._whole(taken)
        return self._pieces(taken, max(1, int(PIECE / (values.shape[1] * self._front.times))))

    def rest(self, taken: Samples) -> Iterator[Samples]:
        """Return the remaining windows if no samples follow ``taken``."""
        self._windows.add(self._front.rest())
        return self._whole(taken)

    def example(self) -> Samples:
        """Return silence."""
        width = self._features.values if self._plan.features in ("raw", "micro") else self._plan.channels
        width = self._plan.width or width
        rows = np.zeros((self._features.need, width), np.float32)
        return Samples(rows, self._row_rate, 0.0, 0.0, 1)

    def __call__(self, frame: Samples, into: NDArray[Any]) -> Transform:
        """Fill ``into`` with the features of a window of `frames`."""
        rows = np.asarray(frame.values, np.float64)
        if self._columns:
            rows = rows[:, self._columns]
            rows = rows if rows.shape[1] == self._channels else rows.mean(axis=1, keepdims=True)
        if self._plan.peak:
            largest = float(np.abs(rows).max())
            rows = rows / largest if largest > 0 else rows
        found = self._features(rows)
        self.real = (found - self._mean) / self._std if self._scaled else found
        self._tensor.store(self.real, into)
        return NO_PLACE

    def _picked(self, plan: SignalPlan) -> list[int]:
        """Return the columns of a sample that the model takes; an empty list for all."""
        if not plan.columns:
            return []
        if plan.features == "micro":
            raise ModelError("`columns` cannot be used with `features: micro`, because its front end takes one channel")
        if plan.features not in MIXED and len(plan.columns) != self._channels:
            raise ModelError(
                f"`columns` names {len(plan.columns)} values of a sample, but {self._tensor.name} "
                f"{list(self._tensor.shape)} takes {self._channels}"
            )
        return list(plan.columns)

    def _pieces(self, taken: Samples, size: int) -> Iterator[Samples]:
        """Yield the windows of a large block, of which ``size`` rows are added at a time."""
        rows = taken.values
        for start in range(0, len(rows), size):
            self._windows.add(self._front(self._mixed(rows[start : start + size])))
            yield from self._whole(taken, max(0, len(rows) - start - size) / taken.rate)

    def _whole(self, taken: Samples, missing: float = 0.0) -> Iterator[Samples]:
        """Yield the complete windows. ``missing``: the seconds at the end of ``taken`` that have not been added yet."""
        while (found := self._windows.take()) is not None:
            window, after = found
            late = _since_start(taken, missing + after / self._row_rate + self._front.lag)
            if self._moment <= taken.monotonic:  # if rows come faster than their rate: never before the last window
                late = min(late, taken.monotonic - self._moment)
            self._moment = taken.monotonic - late
            fresh, self._fresh = self._fresh, False
            yield Samples(
                window.astype(np.float32),
                self._row_rate,
                taken.wall - late,
                taken.monotonic - late,
                taken.number,
                fresh,
            )

    def _open(self, rate: float) -> None:
        """Reset filters and windows for a signal of this rate."""
        lower = self._plan.rate is not None and rate < self._plan.rate * (1 - SAME_RATE)
        if rate != self._rate and lower and self._rarely.due("rate"):
            log.warning(
                "the source delivers %g samples a second instead of the %g that the model takes, so the model gets no "
                "frequencies above %g Hz",
                rate,
                self._plan.rate,
                rate / 2,
            )
        self._rate = math.nan  # if the rate is refused, the next block starts again
        self._front = _Front(self._plan, rate)
        self._rate = rate
        self._row_rate = 1 / MICRO_STEP if self._plan.features == "micro" else self._plan.rate or rate
        whole, half = self._features.frames * self._features.hop, self._features.need // 2
        stride = self._plan.stride
        self.step = max(1, round(stride * self._row_rate) if stride else whole if self._plan.whole else half)
        self._windows = SlidingWindow(self._features.need, self.step)
        self._fresh = True

    def _between(self, taken: Samples) -> Iterator[Samples]:
        """Yield the windows between non-finite samples.

        These samples are dropped and counted, and now and then logged.
        """
        usable = np.asarray(np.isfinite(taken.values).all(axis=1))
        self._drop(int(usable.size - np.count_nonzero(usable)))
        edges = np.flatnonzero(np.diff(usable, prepend=False, append=False)).tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            late = _since_start(taken, (usable.size - end) / taken.rate)
            late = min(late, max(0.0, taken.monotonic - self._moment))  # never back in time
            yield from self.frames(
                replace(
                    taken,
                    values=taken.values[start:end],
                    wall=taken.wall - late,
                    monotonic=taken.monotonic - late,
                    gap=taken.gap or start > 0,
                )
            )
        if not usable[-1]:
            self._open(taken.rate)

    def _drop(self, samples: int) -> None:
        before, self._refused = self._refused, self._refused + samples
        if before.bit_length() != self._refused.bit_length():
            log.warning(
                "samples dropped, because their values are not finite: %d so far; a new window starts after them",
                self._refused,
            )

    @property
    def values(self) -> int:
        """Number of values per sample that a source must provide; 0 if they are averaged, so that any number fits."""
        return 0 if self._plan.features in MIXED else self._channels

    def _mixed(self, values: Signal) -> Rows:
        """Return samples in double precision, with as many channels as the model takes."""
        rows = np.asarray(values, np.float64)
        if self._plan.width:
            return self._wide(rows)
        if rows.shape[1] == self._channels:
            return rows
        if self._plan.features in MIXED and rows.shape[1] > 0:
            return np.asarray(rows.mean(axis=1, keepdims=True), np.float64)
        raise InputError(
            f"the source delivers {rows.shape[1]} values at a time and the model takes {self._channels}; select "
            f"them with the source's `columns`, `channels` or `layout`{self._flat(rows.shape[1])}"
        )

    def _flat(self, delivered: int) -> str:
        """Return the remedy if a flat input may hold several values per sample, which its shape does not show."""
        numbers = self._features.frames if self._plan.features == "raw" and self._channels == 1 else 0
        if not numbers or delivered < 1 or numbers % delivered:
            return ""
        return (
            f", or, if the {numbers} numbers of the model's flat input are samples of {delivered} values, "
            f"set `input: {{channels: {delivered}}}` in its manifest"
        )

    def _wide(self, rows: Rows) -> Rows:
        """Return the first values of each sample, as many as the ``columns`` of all inputs refer to."""
        if rows.shape[1] < self._plan.width:
            raise InputError(
                f"the source delivers {rows.shape[1]} values at a time, but the model's `columns` go up to "
                f"{self._plan.width - 1}, counted from 0"
            )
        return rows[:, : self._plan.width]


class _Front:
    """Processing of samples on arrival: scale, rate, filters, micro front end."""

    def __init__(self, plan: SignalPlan, rate: float) -> None:
        wanted = plan.rate or rate
        self._scale = plan.scale
        near = abs(rate - wanted) <= SAME_RATE * wanted
        self._resampler = None if near else Resampler(rate, wanted)
        self.times = 1.0 if near else max(1.0, wanted / rate)
        """Number of rows for each sample, at least 1."""
        self._filters = make_filters(plan.filter, wanted)
        self._micro = MicroFrontend() if plan.features == "micro" else None

    def __call__(self, rows: Rows) -> Rows:
        """Return rows at the rate of the model."""
        rows = rows if self._scale == 1.0 else rows * self._scale
        return self._behind(self._resampler(rows) if self._resampler else rows)

    def rest(self) -> Rows:
        """Return the rows that remain in the resampler."""
        return self._behind(self._resampler.rest() if self._resampler else np.empty((0, 1)))

    @property
    def lag(self) -> float:
        """Seconds from the last row to the last sample received."""
        return self._resampler.lag if self._resampler else 0.0

    def _behind(self, rows: Rows) -> Rows:
        for each in self._filters if len(rows) else ():
            rows = each(rows)
        return self._micro(rows) if self._micro else rows


def _since_start(taken: Samples, late: float) -> float:
    """Return the seconds by which a window is older than its block, at most back to when the clocks were 0.

    A slow source has few samples per hour, so the filters may reach back to before the boot.
    """
    return min(late, taken.monotonic, taken.wall)


def _per_value(key: str, said: Iterable[float] | None, values: int) -> Rows:
    numbers = np.array(tuple(said or ()), np.float64)
    if not numbers.size:
        return np.array([0.0 if key == "mean" else 1.0])
    if numbers.size not in (1, values):
        raise ModelError(f"the manifest's `input: {key}` has {numbers.size} numbers; expected one, or {values}")
    if key == "std" and not numbers.all():
        raise ModelError("the manifest's `input: std` is 0; features are divided by it")
    return numbers
