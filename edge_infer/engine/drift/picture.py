"""What a picture shows of its camera: light, sharpness, and where its edges lie. No picture is kept."""

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
"""Numbers of the two edge profiles: the mean strength of vertical edges by column, of horizontal ones by row."""
_FINE: Final = 2
"""The edges are found in a picture this much larger than the profiles: most noise of the sensor is averaged out."""
_NOISE: Final = 2.0
"""Brightness steps (of 255) of an edge that are still noise."""
_LINES: Final = 48
"""Lines of the whole picture in which the sharpness is measured."""
_LEAST_ENERGY: Final = 0.05
"""Of differences in brightness steps: below the rounding of a picture without any detail."""


@dataclass(frozen=True, slots=True)
class PictureSignals:
    """Numbers of one picture, without the areas that a mask hides.

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
    """Return the signals of a picture ``[height, width(, 3)]``."""
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
    """Return the edges in so many bins; there is one difference less than pixels."""
    return np.asarray(np.append(edges, edges[-1:]).reshape(bins, -1).mean(axis=1), np.float32)


def _sharpness(pixels: Pixels) -> float:
    """Return the energy of differences of neighbouring pixels relative to that of pixels four apart.

    It is measured in the full resolution, in some lines of one channel.
    """
    step = max(1, pixels.shape[0] // _LINES)
    lines = np.asarray(pixels[::step] if pixels.ndim == 2 else pixels[::step, :, 1], np.float32)
    if lines.shape[1] < 8:
        return 0.0
    fine = float(np.square(np.diff(lines, axis=1)).mean())
    coarse = float(np.square(lines[:, 4:] - lines[:, :-4]).mean())
    return math.log2((fine + _LEAST_ENERGY) / (coarse + 4 * _LEAST_ENERGY))


def shape_of(profile: Profile) -> Profile:
    """Return a profile with mean 0 and length 1; all zeros for one without a shape."""
    centred = profile - profile.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length, np.float32) if length > 1e-3 else np.zeros_like(centred)


def agreement(columns: Profile, rows: Profile, other: tuple[Profile, Profile]) -> float:
    """Return how far two pairs of profiles have the same shape: 1 for equal ones, around 0 for unrelated ones."""
    across = float(shape_of(columns) @ shape_of(other[0]))
    down = float(shape_of(rows) @ shape_of(other[1]))
    return (across + down) / 2


MOST_SHIFT: Final = 0.35
"""Largest shift that is looked for, as a share of the width or height."""


def shift(profile: Profile, reference: Profile) -> tuple[float, float]:
    """Return by which share of its length a profile is shifted, and the agreement of the overlapping parts then.

    Positive: the content is further right (or down) than in the reference.
    """
    length = len(profile)
    most = round(MOST_SHIFT * length)
    found = np.array([_overlap(profile, reference, by) for by in range(-most, most + 1)])
    best = int(found.argmax())
    between = 0.0
    if 0 < best < len(found) - 1:  # the vertex of the parabola through three points
        left, middle, right = found[best - 1 : best + 2]
        bend = left - 2 * middle + right
        between = float((left - right) / (2 * bend)) if bend < 0 else 0.0
    return (best - most + between) / length, float(found[best])


def _overlap(profile: Profile, reference: Profile, by: int) -> float:
    if by >= 0:
        return float(shape_of(profile[by:]) @ shape_of(reference[: len(reference) - by]))
    return float(shape_of(profile[:by]) @ shape_of(reference[-by:]))
