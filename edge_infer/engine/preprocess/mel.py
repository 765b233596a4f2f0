"""Mel bands and cepstral coefficients, in the two variants common in training code.

- ``htk``: ``mel = 1127 ln(1 + f / 700)``, triangles straight in mel, of height 1, as in TensorFlow's
  ``linear_to_mel_weight_matrix``; no band includes 0 Hz.
- ``slaney``: linear up to 1,000 Hz and logarithmic above (M. Slaney, "Auditory Toolbox"), triangles straight in Hz, of
  area 1, as in librosa.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edge_infer.config.plan import Mel
from edge_infer.engine.preprocess.spectrum import frequencies
from edge_infer.engine.preprocess.window import Rows

_KNEE: Final = 1000.0
_LINEAR: Final = 200.0 / 3.0
_STEP: Final = np.log(6.4) / 27.0


def mel_bands(size: int, rate: float, count: int, span: tuple[float, float], kind: Mel) -> Rows:
    """Return a matrix ``[size / 2 + 1, count]`` from the spectrum of ``size`` samples to mel bands in a span in Hz."""
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
    """Return the height, at each point, of triangles that rise from one edge to the next and fall to the one after."""
    rising = (points[:, np.newaxis] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - points[:, np.newaxis]) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float64)


def cosines(count: int, kept: int) -> Rows:
    """Return a matrix ``[count, kept]`` for the first coefficients of a DCT-II.

    They are ``sqrt(2 / count) cos(pi k (n + 1/2) / count)``. The first one is not scaled down, as in TensorFlow's
    ``mfccs_from_log_mel_spectrograms`` and HTK.
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
