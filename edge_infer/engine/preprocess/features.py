"""Features of one window of a signal: as many feature frames as the input tensor takes.

The tensor defines the number of frames and the number of values per frame if its shape has both,
``[1, frames, values]`` (with any axes of 1 among them). For a flat tensor, ``[1, frames x values]``, the manifest
defines them.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess import spectrum
from edge_infer.engine.preprocess.row_filters import Rows
from edge_infer.engine.preprocess.spectrum import Spectra, bands, logarithm
from edge_infer.errors import ModelError
from edge_infer.plan.records import SignalPlan
from edge_infer.platform.extras import install_command


class Features(Protocol):
    """Feature extraction: turns ``need`` rows into ``[frames, values]``. Two frames are ``hop`` rows apart."""

    need: int
    frames: int
    values: int
    hop: int

    def __call__(self, rows: Rows) -> Rows:
        """Return the features of ``need`` rows, shaped (frames, values)."""


class Plain:
    """Rows without transformation: a waveform, raw samples, or every ``hop``-th row of the micro front end."""

    def __init__(self, frames: int, values: int, hop: int = 1) -> None:
        self.frames, self.values, self.hop = frames, values, hop
        self.need = (frames - 1) * hop + 1

    def __call__(self, rows: Rows) -> Rows:
        """Return every ``hop``-th row."""
        return rows[:: self.hop]


class Spectral:
    """Bands of short-time spectra and their logarithm, and for cepstral coefficients the cosine transform of these."""

    def __init__(self, plan: SignalPlan, frames: int, values: int, rate: float) -> None:
        """Prepare the bands; raise `ModelError` if they do not lie within the spectrum."""
        length, self.hop = _samples(plan, "window", rate), _samples(plan, "hop", rate) if frames > 1 else 1
        self.frames, self.values = frames, values
        self.need = length + (frames - 1) * self.hop
        self._spectra = Spectra(length, self.hop, true=plan.features == "spectrum")
        self._bands = _bands(plan, self._spectra.size, rate, values)
        self._cosines = spectrum.cosines(self._bands.shape[1], values) if plan.features == "mfcc" else None
        self._power, self._floor = plan.power, plan.floor
        self._log = plan.log or ("none" if plan.features == "spectrum" else "ln")

    def __call__(self, rows: Rows) -> Rows:
        """Return the bands of all channels side by side."""
        amplitudes = self._spectra(rows)
        gathered = (amplitudes**2 if self._power == 2 else amplitudes) @ self._bands
        found = logarithm(gathered.reshape(self.frames, -1), self._log, self._power, self._floor)
        return found if self._cosines is None else found @ self._cosines


def make_features(plan: SignalPlan, tensor: Tensor) -> Features:
    """Return the features of a plan that fill the tensor; raise `ModelError` if they do not fit."""
    frames, values = _layout(plan, tensor)
    if plan.features in ("waveform", "raw"):
        return Plain(frames, values)
    if plan.rate is None:
        raise ModelError(f"`features: {plan.features}` needs the `rate` that the model was trained with")
    if plan.features == "micro":
        return _micro(plan, frames, values)
    return Spectral(plan, frames, values, plan.rate)


def _layout(plan: SignalPlan, tensor: Tensor) -> tuple[int, int]:
    """Return the number of frames, and the number of values per frame."""
    axes = [size for size in tensor.shape if size != 1] or [1]
    said = _said_values(plan)
    if 0 in axes or len(axes) > 2 or (len(tensor.shape) > 1 and tensor.shape[0] != 1):
        raise ModelError(
            f"its input {tensor.name} has the shape {list(tensor.shape)}; a signal needs [1, samples], [1, frames, "
            "values] or the like, with a batch of 1"
        )
    if len(axes) == 2:
        if said is not None and said != axes[1]:
            raise ModelError(
                f"its input {tensor.name} {list(tensor.shape)} has {axes[1]} values in each frame, but the "
                f"manifest requires {said} ({_VALUES[plan.features]})"
            )
        return axes[0], axes[1]
    values = said or 1
    if plan.features in ("mfcc", "log_mel", "spectrum") and said is None:
        if plan.hop is not None:
            key = "coefficients" if plan.features == "mfcc" else "bins"
            raise ModelError(
                f"its input {tensor.name} {list(tensor.shape)} is flat; set `{key}` to the number of values of "
                "each frame"
            )
        values = axes[0]
    if axes[0] % values:
        raise ModelError(
            f"its input {tensor.name} {list(tensor.shape)} takes {axes[0]} numbers, which is not a whole number "
            f"of frames of {values} ({_VALUES[plan.features]})"
        )
    return axes[0] // values, values


_VALUES = {
    "waveform": "a waveform has one channel",
    "raw": "`channels`",
    "micro": "the micro front end returns 40",
    "mfcc": "`coefficients`",
    "log_mel": "`bins`",
    "spectrum": "`bins` times `channels`",
}
"""Reason for the number of values per frame, by kind of features; for error messages."""


def _said_values(plan: SignalPlan) -> int | None:
    if plan.features == "waveform":
        return 1
    if plan.features == "raw":
        return plan.channels if plan.channels > 1 else None
    if plan.features == "micro":
        return MICRO_VALUES
    if plan.features == "mfcc":
        return plan.coefficients
    return plan.bins * plan.channels if plan.bins is not None else None


def _micro(plan: SignalPlan, frames: int, values: int) -> Plain:
    if plan.rate != MICRO_RATE:
        raise ModelError(f"`features: micro` works at a `rate` of {MICRO_RATE}, not {plan.rate:g}")
    hop = (plan.hop or MICRO_STEP) / MICRO_STEP
    if abs(hop - round(hop)) > 1e-6:
        raise ModelError(
            f"`features: micro` has a frame every 10 ms, so `hop` must be a multiple of that, not {plan.hop} s"
        )
    return Plain(frames, values, round(hop))


def _samples(plan: SignalPlan, key: str, rate: float) -> int:
    """Return a duration of the plan in samples, at least 1."""
    seconds: float | None = getattr(plan, key)
    if seconds is None:
        raise ModelError(f"`features: {plan.features}` needs `{key}`, such as `{key}: 20ms`, as the model was trained")
    return max(1, round(seconds * rate))


def _bands(plan: SignalPlan, size: int, rate: float, values: int) -> Rows:
    high = rate / 2 if plan.high is None else plan.high
    if not 0 <= plan.low < high <= rate / 2:
        raise ModelError(
            f"its bands go from `low: {plan.low:g}` to `high: {high:g}` Hz; at {rate:g} samples a second there are "
            f"0 to {rate / 2:g}"
        )
    if plan.features == "spectrum":
        if values % plan.channels:
            raise ModelError(
                f"{values} values of a frame are not a whole number of bands for {plan.channels} `channels`"
            )
        return bands(size, rate, values // plan.channels, plan.low, high)
    if plan.features == "log_mel":
        return spectrum.mel_bands(size, rate, values, (plan.low, high), plan.mel)
    if plan.bins is None:
        raise ModelError("`features: mfcc` needs `bins`, the number of mel bands, such as `bins: 40`")
    if values > plan.bins:
        raise ModelError(f"{values} coefficients need at least as many mel bands, but `bins` is {plan.bins}")
    return spectrum.mel_bands(size, rate, plan.bins, (plan.low, high), plan.mel)


# Audio front end of TFLite Micro: 40 values every 10 ms, each computed from 30 ms, with noise reduction and gain
# control.
#
# The front end adapts to background noise, so a frame depends on earlier frames. `MicroFrontend` uses the original code
# (``pymicro-features``).

MICRO_RATE: Final = 16_000
MICRO_STEP: Final = 0.01
MICRO_VALUES: Final = 40
_CHUNK: Final = 320
"""Bytes of one step: 160 samples of 16 bits each."""


class MicroFrontend:
    """Front end that turns samples of -1..1, ``[n, 1]`` at 16 kHz, into rows of 40 values.

    Samples of an incomplete step are kept.
    """

    def __init__(self) -> None:
        """Load the front end; raise `ModelError`, which names the optional dependency, if it is not installed."""
        try:
            from pymicro_features import MicroFrontend as Frontend
        except ImportError as error:
            raise ModelError(
                f"it takes features of the TFLite Micro front end; install it: {install_command('micro')} ({error})"
            ) from error
        self._frontend: Any = Frontend()
        self._waiting = b""

    def __call__(self, samples: Rows) -> Rows:
        """Return the rows that these samples complete."""
        self._waiting += np.clip(np.rint(samples[:, 0] * 32768.0), -32768, 32767).astype("<i2").tobytes()
        rows, start = [], 0
        while start + _CHUNK <= len(self._waiting):
            found = self._frontend.process_samples(self._waiting[start : start + _CHUNK])
            start += 2 * found.samples_read
            if found.features:
                rows.append(found.features)
        self._waiting = self._waiting[start:]
        return np.array(rows, np.float64).reshape(-1, MICRO_VALUES)
