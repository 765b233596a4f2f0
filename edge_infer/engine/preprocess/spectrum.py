"""Short-time spectra: amplitudes under Hann windows, and frequency bands."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edge_infer.engine.preprocess.row_filters import Rows
from edge_infer.plan.records import Mel


class Spectra:
    """Spectra of frames of ``length`` samples every ``hop``, under a periodic Hann window, padded to a power of two.

    The amplitude is the magnitude of the Fourier sum, as in common training code. With ``true`` it is the amplitude of
    a sine, in the unit of the signal.
    """

    def __init__(self, length: int, hop: int, *, true: bool = False) -> None:
        self.size = 1 << max(1, (length - 1).bit_length())
        self._hop = hop
        self._length = length
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length) if length > 1 else np.ones(1)
        if true:
            self._window = self._window * (2.0 / self._window.sum())

    def __call__(self, samples: Rows) -> Rows:
        """Return amplitudes ``[frames, channels, size / 2 + 1]`` of samples ``[n, channels]``."""
        frames = sliding_window_view(samples, self._length, axis=0)[:: self._hop]
        return np.abs(np.fft.rfft(frames * self._window, self.size, axis=2))


def frequencies(size: int, rate: float) -> Rows:
    """Return the frequencies of a spectrum of ``size`` samples, in Hz."""
    return np.asarray(np.arange(size // 2 + 1) * (rate / size), np.float64)


def bands(size: int, rate: float, count: int, low: float, high: float) -> Rows:
    """Return a matrix ``[size / 2 + 1, count]`` that averages the frequencies in each of ``count`` equal bands.

    Each frequency belongs to one band. A band that is too narrow to contain a frequency takes the nearest one.
    """
    found = frequencies(size, rate)
    edges = np.linspace(low, high, count + 1)
    band = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, count - 1)
    matrix = np.zeros((found.size, count))
    inside = np.flatnonzero((found >= low) & (found <= high))
    matrix[inside, band[inside]] = 1.0
    centres = (edges[:-1] + edges[1:]) / 2
    for empty in np.flatnonzero(matrix.sum(axis=0) == 0):
        matrix[np.argmin(np.abs(found - centres[empty])), empty] = 1.0
    return np.asarray(matrix / matrix.sum(axis=0), np.float64)


def logarithm(values: Rows, kind: str, power: int, floor: float) -> Rows:
    """Return ``ln(x + floor)``, or decibels.

    Decibels are ``10 log10(x + floor)`` of powers, or ``20 log10(x + floor)`` of amplitudes.
    """
    if kind == "none":
        return values
    if kind == "db":
        return np.asarray((20.0 / power) * np.log10(values + floor), np.float64)
    return np.asarray(np.log(values + floor), np.float64)


# Mel bands and cepstral coefficients, in the two variants common in training code.
#
# - ``htk``: ``mel = 1127 ln(1 + f / 700)``, triangles that are linear in mel and have height 1, as in TensorFlow's
#   ``linear_to_mel_weight_matrix``; no band includes 0 Hz.
# - ``slaney``: linear up to 1,000 Hz and logarithmic above (M. Slaney, "Auditory Toolbox"), triangles that are linear
#   in Hz and have area 1, as in librosa.

_KNEE: Final = 1000.0
_LINEAR: Final = 200.0 / 3.0
_STEP: Final = np.log(6.4) / 27.0


def mel_bands(size: int, rate: float, count: int, span: tuple[float, float], kind: Mel) -> Rows:
    """Return the mel bands within ``span`` (Hz) as a matrix ``[size / 2 + 1, count]``.

    The matrix turns the spectrum of ``size`` samples into bands.
    """
    hertz = frequencies(size, rate)
    ends = np.array(span)
    if kind == "htk":
        edges = _between(_htk(ends), count)
        matrix = _triangles(_htk(hertz), edges)
        matrix[0] = 0.0
        return matrix
    edges = _from_slaney(_between(_slaney(ends), count))
    return np.asarray(_triangles(hertz, edges) * (2.0 / (edges[2:] - edges[:-2])), np.float64)


def _between(ends: Rows, count: int) -> Rows:
    """Return the edges of ``count`` triangles that overlap by half."""
    return np.linspace(float(ends[0]), float(ends[1]), count + 2)


def _triangles(points: Rows, edges: Rows) -> Rows:
    """Return the height of each triangle at each point.

    A triangle rises from one edge to the next edge and falls to the third edge.
    """
    rising = (points[:, np.newaxis] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - points[:, np.newaxis]) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float64)


def cosines(count: int, kept: int) -> Rows:
    """Return a matrix ``[count, kept]`` for the first coefficients of a DCT-II.

    The coefficients are ``sqrt(2 / count) cos(pi k (n + 1/2) / count)``. The first coefficient is not scaled down, as
    in TensorFlow's ``mfccs_from_log_mel_spectrograms`` and HTK.
    """
    angles = np.pi / count * np.outer(np.arange(count) + 0.5, np.arange(kept))
    return np.asarray(np.sqrt(2.0 / count) * np.cos(angles), np.float64)


def _htk(hertz: Rows) -> Rows:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0), np.float64)


def _slaney(hertz: Rows) -> Rows:
    above = _KNEE / _LINEAR + np.log(np.maximum(hertz, _KNEE) / _KNEE) / _STEP
    return np.where(hertz < _KNEE, hertz / _LINEAR, above)


def _from_slaney(mel: Rows) -> Rows:
    knee = _KNEE / _LINEAR
    return np.where(mel < knee, mel * _LINEAR, _KNEE * np.exp(_STEP * (np.maximum(mel, knee) - knee)))
