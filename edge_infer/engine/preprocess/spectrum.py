"""Short-time spectra: amplitudes under Hann windows, and their bands."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edge_infer.engine.preprocess.window import Rows

LN_FLOOR: Final = 1e-6


class Spectra:
    """Spectra of frames of ``length`` samples every ``hop``, under a periodic Hann window, padded to a power of two.

    The amplitude is that of the Fourier sum, as in common training code. With ``true`` it is that of a sine in the
    signal's own unit.
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

    Each frequency belongs to one band. A band too narrow for any frequency takes the nearest one.
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
    """Return ``ln(x + floor)``, or decibels: ``10 log10(x + floor)`` of powers, ``20 log10(...)`` of amplitudes."""
    if kind == "none":
        return values
    if kind == "db":
        return np.asarray((20.0 / power) * np.log10(values + floor), np.float64)
    return np.asarray(np.log(values + floor), np.float64)
