"""Numbers that describe a camera's picture: its brightness, its sharpness, and the positions of its edges.

No picture is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.frames.frame import Pixels

Profile: TypeAlias = NDArray[np.float32]

COLUMNS, ROWS = 64, 36
"""Lengths of the two edge profiles: the mean strength of vertical edges by column, and of horizontal edges by row."""
_FINE: Final = 2
"""Factor by which the picture for the edges is larger than the profiles. The picture is small enough to average out
most sensor noise."""
_NOISE: Final = 2.0
"""Edge strength, in brightness steps of 255, up to which an edge counts as noise."""
_LINES: Final = 48
"""Number of lines of the full-size picture in which the sharpness is measured."""
_LEAST_ENERGY: Final = 0.05
"""Minimum energy of brightness differences; it is below the rounding error of a picture without any detail."""


@dataclass(frozen=True, slots=True)
class PictureSignals:
    """Numbers that describe one picture, without its masked areas.

    - ``light``: the mean brightness, 0 to 1
    - ``sharpness``: the logarithm (base 2) of the energy of fine details relative to that of coarser ones
    - ``flat``: the share of the picture without any detail
    - ``columns``, ``rows``: the edge profiles, ``COLUMNS`` and ``ROWS`` numbers of at least 0
    """

    light: float
    sharpness: float
    flat: float
    columns: Profile
    rows: Profile


def picture_signals(pixels: Pixels) -> PictureSignals:
    """Return the numbers that describe a picture ``[height, width(, 3)]``."""
    size = COLUMNS * _FINE, ROWS * _FINE
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    gray = np.asarray(small if small.ndim == 2 else small[..., 1], np.float32)
    across = np.maximum(0.0, np.abs(np.diff(gray, axis=1)) - _NOISE)
    down = np.maximum(0.0, np.abs(np.diff(gray, axis=0)) - _NOISE)
    flat = (across[:-1] == 0.0) & (down[:, :-1] == 0.0)
    return PictureSignals(
        float(gray.mean()) / 255,
        _sharpness(pixels),
        float(flat.mean()),
        _profile(across.mean(axis=0), COLUMNS),
        _profile(down.mean(axis=1), ROWS),
    )


def _profile(edges: Profile, bins: int) -> Profile:
    """Return the mean edge strength in each of ``bins`` equal parts. ``edges`` is one shorter than the picture."""
    return np.asarray(np.append(edges, edges[-1:]).reshape(bins, -1).mean(axis=1), np.float32)


def _sharpness(pixels: Pixels) -> float:
    """Return the energy of differences between neighbouring pixels, relative to that of pixels four apart.

    The measurement uses some lines of one colour channel, at full resolution.
    """
    step = max(1, pixels.shape[0] // _LINES)
    lines = np.asarray(pixels[::step] if pixels.ndim == 2 else pixels[::step, :, 1], np.float32)
    if lines.shape[1] < 8:
        return 0.0
    fine = float(np.square(np.diff(lines, axis=1)).mean())
    coarse = float(np.square(lines[:, 4:] - lines[:, :-4]).mean())
    return math.log2((fine + _LEAST_ENERGY) / (coarse + 4 * _LEAST_ENERGY))


def shape_of(profile: Profile) -> Profile:
    """Return a profile shifted to mean 0 and scaled to length 1; all zeros if the profile is constant."""
    centred = profile - profile.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length, np.float32) if length > 1e-3 else np.zeros_like(centred)


def agreement(columns: Profile, rows: Profile, other: tuple[Profile, Profile]) -> float:
    """Return the similarity of the shapes of two pairs of profiles: 1 if equal, around 0 if unrelated."""
    across = float(shape_of(columns) @ shape_of(other[0]))
    down = float(shape_of(rows) @ shape_of(other[1]))
    return (across + down) / 2


MOST_SHIFT: Final = 0.35
"""Maximum shift that is searched, as a share of the width or height."""


def shift(profile: Profile, reference: Profile) -> tuple[float, float]:
    """Return the shift of a profile against the reference, as a share of its length, and the agreement.

    A positive shift means that the content has moved to the right (or down). The agreement is computed from the
    overlapping parts.
    """
    length = len(profile)
    most = round(MOST_SHIFT * length)
    found = np.array([_overlap(profile, reference, by) for by in range(-most, most + 1)])
    best = int(found.argmax())
    between = 0.0
    if 0 < best < len(found) - 1:  # vertex of the parabola through three points
        left, middle, right = found[best - 1 : best + 2]
        bend = left - 2 * middle + right
        between = float((left - right) / (2 * bend)) if bend < 0 else 0.0
    return (best - most + between) / length, float(found[best])


def _overlap(profile: Profile, reference: Profile, by: int) -> float:
    if by >= 0:
        return float(shape_of(profile[by:]) @ shape_of(reference[: len(reference) - by]))
    return float(shape_of(profile[:by]) @ shape_of(reference[-by:]))
