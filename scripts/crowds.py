"""Synthetic scenes with many people or a few fast cars, and simulated detections, for ``scripts/track``.

A scene is a set of walkers with known paths. They enter at the edges or at doors, alone or in groups, turn, wait, pass
behind pillars and behind each other, and leave again, all independent of each other. So new walkers appear while others
are hidden. The simulated detector misses boxes in single frames and for seconds, finds boxes without an object, finds
low scores for half-hidden people, sometimes mistakes the label, and is less exact for small boxes.

The generator was committed before anything was tuned on it. `TUNING` are the seeds for tuning. `REPORT` are the seeds
of the published table; they have no other use.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

TUNING: Final = (1, 2, 3)
REPORT: Final = (101, 102, 103, 104, 105, 106)
LABELS: Final = ("person", "bicycle", "dog")
RATES: Final = (25.0, 12.5, 10.0, 5.0, 3.0)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scene: ``arrivals`` of groups per second, ``speed`` in object sizes per second, ``height`` of the
    nearest."""

    name: str
    size: tuple[int, int]
    seconds: float
    arrivals: float
    height: float
    depth: float  # height of the farthest person as a share of the nearest
    speed: tuple[float, float]
    stray: float  # boxes without an object per frame
    missed: float  # share of single boxes that are missed
    pillars: int
    cars: bool = False


CROWD: Final = Kind("crowd", (1280, 720), 60.0, 0.95, 200.0, 0.35, (0.7, 2.2), 0.6, 0.15, 2)
STREET: Final = Kind("street", (640, 480), 40.0, 0.9, 230.0, 0.6, (0.7, 2.0), 0.1, 0.10, 1)
CARS: Final = Kind("cars", (1280, 720), 90.0, 0.3, 90.0, 0.8, (3.0, 8.0), 0.0, 0.10, 0, cars=True)
KINDS: Final = {kind.name: kind for kind in (CROWD, STREET, CARS)}


@dataclass(slots=True)
class Walker:
    """One object. ``way`` lists times and positions of its feet; ``tall`` and ``slim`` scale its height and width."""

    label: int
    tall: float
    slim: float
    way: list[tuple[float, float, float]]
    hidden: list[tuple[float, float]] = field(default_factory=list)

    def feet(self, moment: float) -> tuple[float, float] | None:
        """Return the position of its feet; None before it arrives and after it has left."""
        if not self.way[0][0] <= moment < self.way[-1][0]:
            return None
        for (start, x, y), (end, to_x, to_y) in zip(self.way, self.way[1:], strict=False):
            if start <= moment < end:
                share = (moment - start) / (end - start)
                return x + share * (to_x - x), y + share * (to_y - y)
        return None


@dataclass(slots=True)
class Sequence:
    """Frames of a scene; every array has one row a box. ``truth`` rows are frame, object, xmin, ymin, xmax, ymax.

    ``found`` rows are detections: frame, xmin, ymin, xmax, ymax, score, class. Frames count from 0.
    """

    name: str
    fps: float
    size: tuple[int, int]
    frames: int
    truth: NDArray[np.float64]
    found: NDArray[np.float64]


class Author:
    """Generates the walkers of a scene; the same kind and seed give the same walkers at every frame rate."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self._dice = random.Random(f"{kind.name} {seed}")
        width, height = kind.size
        self._horizon, self._floor = 0.45 * height, 0.98 * height
        self.doors = [(self._dice.uniform(0.15, 0.85) * width, self._depth(self._dice.random())) for _ in range(2)]
        spots = [self._dice.uniform(0.1, 0.9) * width for _ in range(kind.pillars)]
        self.pillars = [(spot, spot + self._dice.uniform(0.02, 0.05) * width) for spot in spots]
        self.walkers: list[Walker] = []
        moment = 0.0
        while moment < kind.seconds:
            self._party(moment)
            moment += self._dice.expovariate(kind.arrivals)

    def scale(self, feet: float) -> float:
        """Return the height of a person whose feet are at this vertical position."""
        near = (feet - self._horizon) / (self._floor - self._horizon)
        return self.kind.height * (self.kind.depth + (1 - self.kind.depth) * near)

    def _depth(self, near: float) -> float:
        return self._horizon + near * (self._floor - self._horizon)

    def _party(self, begin: float) -> None:
        dice, kind = self._dice, self.kind
        if kind.cars:
            self._car(begin)
            return
        label = 0 if (roll := dice.random()) < 0.85 else 1 if roll < 0.95 else 2
        count = 1 if label or dice.random() < 0.6 else dice.randint(2, 4)
        stops = self._stops()
        speed = dice.uniform(*kind.speed) * (1.8 if label == 1 else 1.0)
        waits = [dice.uniform(0.8, 6.0) if dice.random() < 0.3 else 0.0 for _ in stops]
        for _ in range(count):
            away = dice.gauss(0, 0.35), dice.gauss(0, 0.06)
            moment = begin + dice.uniform(0.0, 0.6)
            tall, slim = dice.uniform(0.85, 1.1), dice.uniform(0.34, 0.46)
            if label:
                tall, slim = (0.9, dice.uniform(0.7, 1.0)) if label == 1 else (0.35, dice.uniform(1.2, 1.6))
            way: list[tuple[float, float, float]] = []
            for place, stop in enumerate(stops):
                height = self.scale(stop[1])
                x = stop[0] + away[0] * height * 0.4
                y = min(self._floor, max(self._horizon, stop[1] + away[1] * height))
                if way:
                    size = self.scale((y + way[-1][2]) / 2) * math.sqrt(0.4)
                    moment += max(0.2, math.hypot(x - way[-1][1], (y - way[-1][2]) * 1.5) / (speed * size))
                way.append((moment, x, y))
                if waits[place] and 0 < place < len(stops) - 1:
                    moment += waits[place]
                    way.append((moment, x, y))
            self._add(Walker(label, tall, slim, way))

    def _stops(self) -> list[tuple[float, float]]:
        """Return the stops of a group: an entrance at an edge or a door, up to two turning points, and an exit."""
        dice, width = self._dice, self.kind.size[0]
        start, end = self._gate(), self._gate()
        stops = [start]
        turns = dice.choice((0, 0, 1, 1, 2))
        stops += [(dice.uniform(0.1, 0.9) * width, self._depth(dice.random())) for _ in range(turns)]
        if math.hypot(end[0] - stops[-1][0], end[1] - stops[-1][1]) < 0.2 * width:
            end = (-0.1 * width if stops[-1][0] > width / 2 else 1.1 * width, end[1])
        return [*stops, end]

    def _gate(self) -> tuple[float, float]:
        dice, width = self._dice, self.kind.size[0]
        if dice.random() < 0.25:
            return dice.choice(self.doors)
        return dice.choice((-0.1, 1.1)) * width, self._depth(dice.random())

    def _car(self, begin: float) -> None:
        dice, width = self._dice, self.kind.size[0]
        feet = self._depth(dice.random())
        tall, slim = 1.0, dice.uniform(1.5, 2.2)
        size = self.scale(feet) * math.sqrt(slim)
        speed = dice.uniform(*self.kind.speed) * size
        from_, to = (-0.1 * width, 1.1 * width) if dice.random() < 0.5 else (1.1 * width, -0.1 * width)
        self._add(Walker(0, tall, slim, [(begin, from_, feet), (begin + 1.2 * width / speed, to, feet)]))

    def _add(self, walker: Walker) -> None:
        """Add a walker, with random periods in which the detector misses it."""
        moment = walker.way[0][0]
        while not self.kind.cars:
            moment += self._dice.expovariate(1 / 9.0)
            if moment >= walker.way[-1][0]:
                break
            length = min(3.0, 0.3 + self._dice.expovariate(1 / 0.7))
            walker.hidden.append((moment, moment + length))
            moment += length
        self.walkers.append(walker)


def sequence(kind: Kind, seed: int, fps: float) -> Sequence:
    """Return truth and detections of a scene at ``fps`` frames a second."""
    author = Author(kind, seed)
    dice = random.Random(f"{kind.name} {seed} {fps:g}")
    width, height = kind.size
    truth, found = list[tuple[float, ...]](), list[tuple[float, ...]]()
    frames = math.ceil(kind.seconds * fps)
    strays = _Strays(kind, author, fps, dice)
    for frame in range(frames):
        moment = frame / fps
        present = sorted(_present(author, moment), key=lambda item: -item[2])  # the nearest first
        boxes = [box for _, box, _, _ in present]
        for place, (number, box, _, behind) in enumerate(present):
            cover = max((_covered(box, other) for other in boxes[:place]), default=0.0)
            hidden = any(low <= moment < high for low, high in author.walkers[number].hidden)
            if not behind and cover < 0.85:  # the others are invisible
                truth.append((frame, number, *box))
            if behind or hidden or cover > dice.uniform(0.5, 0.8) or dice.random() < kind.missed:
                continue
            noisy = _noisy(box, author, dice)
            seen = (max(0.0, noisy[0]), max(0.0, noisy[1]), min(width, noisy[2]), min(height, noisy[3]))
            if seen[2] - seen[0] < 4.0 or seen[3] - seen[1] < 4.0:
                continue
            score = min(0.98, max(0.2, dice.gauss(0.85 - 0.6 * cover, 0.08)))
            label = author.walkers[number].label if dice.random() < 0.98 else dice.randrange(len(LABELS))
            found.append((frame, *seen, score, 0 if kind.cars else label))
        found += [(frame, *box, score, 0) for box, score in strays.boxes()]
    return Sequence(
        f"{kind.name} {seed} {fps:g}", fps, kind.size, frames,
        np.array(truth, np.float64).reshape(-1, 6), np.array(found, np.float64).reshape(-1, 7),
    )  # fmt: skip


def _present(author: Author, moment: float) -> Iterator[tuple[int, Box, float, bool]]:
    """Yield the walkers in the picture: number, visible box, place of the feet, and whether a pillar hides it."""
    width, height = author.kind.size
    for number, walker in enumerate(author.walkers):
        feet = walker.feet(moment)
        if feet is None:
            continue
        tall = author.scale(feet[1]) * walker.tall
        wide = tall * walker.slim
        whole = feet[0] - wide / 2, feet[1] - tall, feet[0] + wide / 2, feet[1]
        box = max(0.0, whole[0]), max(0.0, whole[1]), min(float(width), whole[2]), min(float(height), whole[3])
        if box[2] - box[0] < 0.4 * wide or box[3] - box[1] < 0.4 * tall:
            continue
        behind = any(low <= feet[0] < high for low, high in author.pillars) and feet[1] < 0.9 * height
        yield number, box, feet[1], behind


def _covered(box: Box, other: Box) -> float:
    """Return the share of a box that another box covers."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    tall = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, wide) * max(0.0, tall) / ((box[2] - box[0]) * (box[3] - box[1]))


def _noisy(box: Box, author: Author, dice: random.Random) -> Box:
    """Return the box with the detector's jitter, which is larger for small boxes."""
    wide, tall = box[2] - box[0], box[3] - box[1]
    rough = 0.025 + 0.03 * max(0.0, 1.0 - tall / author.kind.height)
    x, y = (box[0] + box[2]) / 2 + dice.gauss(0, rough * wide), (box[1] + box[3]) / 2 + dice.gauss(0, rough * tall)
    wide, tall = wide * (1 + dice.gauss(0, rough * 1.5)), tall * (1 + dice.gauss(0, rough * 1.5))
    return x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2


class _Strays:
    """Boxes without an object: most in one frame only, some for up to a second at one place."""

    def __init__(self, kind: Kind, author: Author, fps: float, dice: random.Random) -> None:
        self._kind, self._author, self._fps, self._dice = kind, author, fps, dice
        self._lasting: list[tuple[Box, int]] = []

    def boxes(self) -> list[tuple[Box, float]]:
        """Return the stray boxes of the next frame, with scores."""
        dice = self._dice
        boxes = [self._box() for _ in range(_poisson(dice, self._kind.stray))]
        if dice.random() < 0.15 * self._kind.stray * 10 / self._fps:
            self._lasting.append((self._box(), max(2, round(dice.uniform(0.2, 1.0) * self._fps))))
        boxes += [_noisy(box, self._author, dice) for box, _ in self._lasting if dice.random() < 0.7]
        self._lasting = [(box, left - 1) for box, left in self._lasting if left > 1]
        return [(box, dice.uniform(0.25, 0.8)) for box in boxes]

    def _box(self) -> Box:
        dice, (width, height) = self._dice, self._kind.size
        feet = dice.uniform(0.45, 0.98) * height
        tall = self._author.scale(feet) * dice.uniform(0.7, 1.2)
        wide = tall * dice.uniform(0.3, 0.6)
        x = dice.uniform(wide / 2, width - wide / 2)
        return x - wide / 2, max(0.0, feet - tall), x + wide / 2, feet


def _poisson(dice: random.Random, mean: float) -> int:
    count, left = 0, dice.random()
    while (left := left - math.exp(-mean) * mean**count / math.factorial(count)) > 0:
        count += 1
    return count
