"""Constant-velocity Kalman filters for all boxes at once: current and predicted positions.

The model is that of SORT (Bewley et al., "Simple Online and Realtime Tracking", 2016). The noise is in proportion to
the size of the box, as in DeepSORT and ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every
Detection Box", 2022). Time is measured in seconds instead of frames: the noise of a step is the integral of white
acceleration over its duration, so that ten short steps equal one long step. Noise is independent in each coordinate, so
each coordinate has its own filter and no matrix is inverted. Sizes follow a random walk: a growth rate learned from
noise would inflate a box that is hidden for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
PathPoint = tuple[float, float, float]
"""Time and position of the centre."""

PLACE_NOISE: Final = 0.06
"""Standard deviation of a measured centre, as a share of the box's width or height."""
SIZE_NOISE: Final = 0.10
"""Standard deviation of a measured width or height, as a share of that width or height."""
ACCELERATION: Final = 1.0
"""Change of speed per second, in box sizes per second; for example when a person stops or starts to walk."""
FIRST_SPEED: Final = 3.0
"""Standard deviation of the speed after the first sighting, in box sizes per second."""
LEAST_SIDE: Final = 4.0
"""Side length in pixels below which a smaller box is not measured more exactly."""
GROWTH: Final = 0.2
"""Change of width or height per second, as a share of that width or height."""
STRAIGHT: Final = 4
"""Minimum number of sightings of a path that may count as straight. `STRAIGHT_FOR` is the minimum duration of the path
in seconds."""
STRAIGHT_FOR: Final = 0.5
CROOKED: Final = 3.0
"""Maximum variance around a straight line, as a multiple of the variance of a measured position."""


@dataclass(slots=True)
class KalmanMotion:
    """Motion of ``n`` boxes: ``place`` is ``[n, 4]`` as centre x, centre y, width, height in pixels.

    ``speed``, ``[n, 2]``, is the speed of the centre in pixels per second. ``variance`` is the variance of the
    position, ``drift`` the variance of the speed, ``shared`` their covariance.
    """

    place: Rows
    speed: Rows
    variance: Rows
    shared: Rows
    drift: Rows

    @classmethod
    def at(cls, measured: Rows) -> KalmanMotion:
        """Return the motion of boxes that are seen for the first time."""
        size = _size(measured)
        first = np.repeat((FIRST_SPEED * size)[:, None] ** 2, 2, axis=1)
        none = np.zeros((len(measured), 2))
        return cls(measured.copy(), none, _noise(measured), none.copy(), first)

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: NDArray[np.intp] | list[int]) -> KalmanMotion:
        """Return a copy of these rows."""
        return KalmanMotion(
            self.place[rows], self.speed[rows], self.variance[rows], self.shared[rows], self.drift[rows]
        )

    def put(self, row: int, other: KalmanMotion, other_row: int) -> None:
        """Overwrite a row with a row of another motion."""
        for item in fields(self):
            getattr(self, item.name)[row] = getattr(other, item.name)[other_row]

    def joined(self, other: KalmanMotion) -> KalmanMotion:
        """Return these rows followed by the rows of the other motion."""
        return KalmanMotion(*(np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))

    def predict(self, seconds: float | Rows, acceleration: float = ACCELERATION) -> None:
        """Predict the positions of all boxes ``seconds`` ahead; ``[n, 1]`` seconds give each box its own step."""
        push = (acceleration * _size(self.place)[:, None]) ** 2
        self.place[:, :2] += self.speed * seconds
        self.variance[:, :2] += seconds * (2 * self.shared + seconds * self.drift) + push * (seconds**3 / 3)
        self.variance[:, 2:] += (GROWTH * self.place[:, 2:]) ** 2 * seconds
        self.shared += seconds * self.drift + push * (seconds**2 / 2)
        self.drift += push * seconds

    def steady(self, row: int, path: Sequence[PathPoint], moment: float, *, sure: bool = False) -> None:
        """Move a row to the straight line through its path, if the path was straight.

        The filter weights the last steps more, because objects stop and turn. For an object that is not visible, the
        whole path predicts better. The uncertainty shrinks only if the caller is ``sure`` that the object continued
        straight.
        """
        count = len(path)
        if count < STRAIGHT or path[-1][0] - path[0][0] < STRAIGHT_FOR:
            return
        centre = sum(when for when, _, _ in path) / count
        times = [when - centre for when, _, _ in path]
        spread, ahead = sum(time * time for time in times), moment - centre
        found = []
        for axis in (0, 1):  # plain numbers: for a path this short, an array is slower
            noise = (PLACE_NOISE * max(float(self.place[row, 2 + axis]), LEAST_SIDE)) ** 2
            points = [sighting[1 + axis] for sighting in path]
            middle = sum(points) / count
            speed = sum(time * point for time, point in zip(times, points, strict=True)) / spread
            off = sum((point - middle - time * speed) ** 2 for time, point in zip(times, points, strict=True))
            if off / (count - 2) > CROOKED * noise:
                return
            found.append((middle + speed * ahead, speed, noise))
        for axis, (place, speed, noise) in enumerate(found):
            self.place[row, axis], self.speed[row, axis] = place, speed
            if sure:
                drift = noise / spread
                self.drift[row, axis], self.shared[row, axis] = drift, drift * ahead
                self.variance[row, axis] = noise / count + drift * ahead**2

    def distances(self, measured: Rows) -> tuple[Rows, Rows]:
        """Return two ``[n, m]`` arrays of distances to m boxes: squared Mahalanobis, and with a cost of uncertainty.

        The second adds the logarithms of ``spread / noise`` of all coordinates. The sum is twice the negative logarithm
        of the likelihood, minus the same value for a box exactly at the place of a track without uncertainty. A track
        that was hidden for long could be anywhere; the cost prevents it from taking the boxes of other tracks.
        """
        noise = _noise(self.place)
        spread = self.variance + noise
        off = measured[None, :, :] - self.place[:, None, :]
        squared: Rows = np.einsum("nmk,nk->nm", off * off, 1.0 / spread)
        return squared, squared + np.log(spread / noise).sum(axis=1)[:, None]

    def surprise(self, rows: NDArray[np.intp], measured: Rows) -> Rows:
        """Return squared Mahalanobis distances, ``[n]``, of these rows to their measured boxes."""
        place = self.place[rows]
        off = measured - place
        return np.asarray((off * off / (self.variance[rows] + _noise(place))).sum(axis=1))

    def correct(self, rows: NDArray[np.intp], measured: Rows) -> None:
        """Correct these rows with their measured boxes."""
        place, variance = self.place[rows], self.variance[rows]
        shared, drift = self.shared[rows], self.drift[rows]
        spread = variance + _noise(place)
        off = measured - place
        gain, turn = variance / spread, shared / spread[:, :2]
        self.place[rows] = place + gain * off
        self.speed[rows] += turn * off[:, :2]
        self.variance[rows] = variance * (1 - gain)
        self.shared[rows] = shared * (1 - gain[:, :2])
        self.drift[rows] = drift - turn * shared


def centred(boxes: Rows) -> Rows:
    """Convert boxes ``[n, 4]`` from xmin, ymin, xmax, ymax to centre, width and height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate((boxes[:, :2] + size / 2, size), axis=1)


def overlaps(one: Rows, other: Rows) -> Rows:
    """Return the ``[n, m]`` intersections over unions of boxes given as centre, width and height."""
    low = np.maximum((one[:, :2] - one[:, 2:] / 2)[:, None], (other[:, :2] - other[:, 2:] / 2)[None])
    high = np.minimum((one[:, :2] + one[:, 2:] / 2)[:, None], (other[:, :2] + other[:, 2:] / 2)[None])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    both = one[:, 2:].prod(axis=1)[:, None] + other[:, 2:].prod(axis=1)[None] - common
    return np.asarray(common / np.maximum(both, 1e-9))


def _size(place: Rows) -> Rows:
    """Return the square root of the area, at least one pixel."""
    return np.asarray(np.sqrt(np.maximum(place[:, 2] * place[:, 3], 1.0)))


def _noise(place: Rows) -> Rows:
    """Return the variance of a measured box."""
    noise = np.empty_like(place)
    sides = np.maximum(place[:, 2:], LEAST_SIDE)
    noise[:, :2] = (PLACE_NOISE * sides) ** 2
    noise[:, 2:] = (SIZE_NOISE * sides) ** 2
    return noise
