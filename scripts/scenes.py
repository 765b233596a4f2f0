"""Synthetic scenes with known truth: moving objects, simulated detections, and the events that must be reported.

A scene is a series of episodes, each with its own objects and a pause after it, so that every event is due at a known
time. Some episodes have several objects at once, or an object that arrives while another is hidden. The simulated
detector adds faults: noise on every box, missing frames, boxes without an object.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_infer.engine.tasks.detection import Detection
from edge_infer.plan.records import LinePlan, ZonePlan

SIZE: Final = (1280, 720)
ZONE: Final = ZonePlan("drive", ((0.35, 0.3), (0.65, 0.3), (0.65, 1.0), (0.35, 1.0)), loiter=4.0)
LINE: Final = LinePlan("gate", (0.5, 0.0), (0.5, 1.0))
LEFT, MIDDLE, RIGHT = 0.35 * SIZE[0], 0.5 * SIZE[0], 0.65 * SIZE[0]
NOISE: Final = 0.05
"""Standard deviation of the position and size of a box, as a share of its size."""
FALSE_BOXES: Final = 0.2
"""Mean number of boxes without an object in a frame; each is in one frame only."""
PAUSE: Final = 1.5
"""Seconds between two episodes, in addition to the time until the tracker drops the objects of the first."""

APART: Final = 2.0
"""Minimum distance, in object sizes, from the last position of an object to the first position of the next."""

TYPES: Final = ("appear", "leave", "enter", "exit", "loiter", "cross")

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Due:
    """An event that must be reported exactly once between two times."""

    type: str
    low: float
    high: float
    direction: str = ""
    optional: bool = False  # the event may be reported or not


@dataclass(slots=True)
class Actor:
    """A moving object: ``at(t)`` is the position of its feet, ``t`` seconds after ``begin``."""

    begin: float
    end: float
    size: tuple[float, float]
    at: Callable[[float], Place]
    hidden: tuple[tuple[float, float], ...] = ()
    label: str = "person"

    def box(self, moment: float) -> tuple[float, float, float, float] | None:
        """Return its box; None while it is hidden or absent."""
        if not self.begin <= moment < self.end or any(low <= moment < high for low, high in self.hidden):
            return None
        x, y = self.at(moment - self.begin)
        width, height = self.size
        return x - width / 2, y - height, x + width / 2, y


@dataclass(slots=True)
class Scene:
    """Actors, and the events that must be reported of them."""

    lost: float
    late: float
    seconds: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)

    def add(self, actor: Actor, *extra: Due) -> None:
        """Add an object, the events of its appearance and its leaving, and the ``extra`` events."""
        self.actors.append(actor)
        sure = actor.begin + self.late
        sure += sum(high - low for low, high in actor.hidden if low < sure)  # a hidden object cannot be reported
        leave = Due("leave", actor.end, actor.end + self.lost + self.late)
        self.due += [Due("appear", actor.begin, sure), leave, *extra]


class Author:
    """Generates a scene; the same seed gives the same scene."""

    def __init__(self, seed: int, fps: float, occlusion: float = 0.5, lost: float = 1.0) -> None:
        """Objects are hidden for at most ``occlusion`` seconds; after ``lost`` seconds they count as gone."""
        self._random = random.Random(seed)
        self._occlusion = occlusion
        self._late = 1.2 + 6 / fps  # half a second and a few frames, a fifth of which are missing
        self.scene = Scene(lost, self._late)

    def write(self, seconds: float, least: int = 0) -> Scene:
        """Generate episodes of all kinds in random order for ``seconds``, until each type of event is due ``least``
        times."""
        kinds = (
            self._walk_through, self._cross_paths, self._hidden, self._stand_still, self._tremble_at_zone,
            self._tremble_on_line, self._appear_inside, self._relieve, self._several,
        )  # fmt: skip
        lost_and_pause = self.scene.lost + PAUSE
        while self.scene.seconds < seconds or self._rarest() < least:
            self._random.choice(kinds)()
            self.scene.seconds = max(actor.end for actor in self.scene.actors) + lost_and_pause
        return self.scene

    def _rarest(self) -> int:
        counts = Counter(due.type for due in self.scene.due if not due.optional)
        return min((counts[kind] for kind in TYPES), default=0)

    def _body(self) -> tuple[float, float]:
        height = self._random.uniform(80, 180)
        return height * self._random.uniform(0.35, 0.5), height

    def _feet(self, size: tuple[float, float]) -> float:
        return self._random.uniform(max(0.45 * SIZE[1], size[1]), SIZE[1] - 10)

    def _way(self, fastest: float) -> tuple[float, float, float]:
        """Return a way through the whole zone: start and end outside of it, and the speed in pixels a second."""
        speed = self._random.uniform(60, fastest)
        start, end = self._random.uniform(60, 200), self._random.uniform(SIZE[0] - 200, SIZE[0] - 60)
        return (start, end, speed) if self._random.random() < 0.5 else (end, start, speed)

    def _through(self, begin: float, start: float, end: float, speed: float) -> tuple[float, list[Due]]:
        """Return the end of a walk, and its due events besides appearing and leaving."""
        sign = math.copysign(1.0, end - start)
        first, last = (LEFT, RIGHT) if sign > 0 else (RIGHT, LEFT)
        moments = [begin + abs(x - start) / speed for x in (first, MIDDLE, last)]
        due = [
            Due("enter", moments[0] - 0.3, moments[0] + self._late),
            Due("exit", moments[2] - 0.3, moments[2] + self._late),
        ]
        due.append(Due("cross", moments[1] - 0.3, moments[1] + self._late, "left" if sign > 0 else "right"))
        if moments[2] - moments[0] > ZONE_LOITER + 1.0:
            due.append(Due("loiter", moments[0] + ZONE_LOITER - 0.3, moments[0] + ZONE_LOITER + self._late))
        return begin + abs(end - start) / speed, due

    def _walk(
        self, begin: float, feet: float, size: tuple[float, float], hide: float = 0.0, fastest: float = 240
    ) -> None:
        self._go(begin, self._passing(fastest), feet, size, hide)

    def _passing(self, fastest: float = 240) -> tuple[float, float, float]:
        """Return a way from one side to the other, at a speed that makes clear whether the object loiters."""
        way = self._way(fastest)
        while abs(abs(RIGHT - LEFT) / way[2] - ZONE_LOITER) < 1.2:
            way = self._way(fastest)
        return way

    def _go(
        self, begin: float, way: tuple[float, float, float], feet: float, size: tuple[float, float], hide: float = 0.0
    ) -> None:
        start, end, speed = way
        over, due = self._through(begin, start, end, speed)
        hidden: tuple[tuple[float, float], ...] = ()
        if hide:
            from_ = begin + self._random.uniform(1.2, over - begin - 1.2 - hide)
            hidden = ((from_, from_ + hide),)
            due = [Due(item.type, item.low, item.high + hide, item.direction) for item in due]
        sign = math.copysign(speed, end - start)
        self.scene.add(Actor(begin, over, size, lambda t: (start + sign * t, feet), hidden), *due)

    def _walk_through(self) -> None:
        size = self._body()
        self._walk(self.scene.seconds, self._feet(size), size)

    def _relieve(self) -> None:
        """One object leaves. Before it counts as gone, another object arrives some sizes away, at either edge."""
        size = self._body()
        feet = self._feet(size)
        self._walk(self.scene.seconds, feet, size)
        gone = self.scene.actors[-1]
        x, y = gone.at(gone.end - gone.begin)
        begin = gone.end + self._random.uniform(0.1, 0.9 * self.scene.lost)
        while True:
            other = self._body()
            way, feet = self._passing(), self._feet(other)
            away = math.hypot(way[0] - x, feet - y) / math.sqrt(max(size[0] * size[1], other[0] * other[1]))
            if away > APART:
                break
        self._go(begin, way, feet, other)

    def _several(self) -> None:
        """Three or four objects at once, at different depths, none of which hides another."""
        begin, count = self.scene.seconds, self._random.choice((3, 4))
        for place in range(count):
            height = self._random.uniform(80, 110)
            size = height * self._random.uniform(0.35, 0.5), height
            feet = SIZE[1] - 10 - 150.0 * place
            self._go(begin + self._random.uniform(0.0, 3.0), self._passing(), feet, size)

    def _hidden(self) -> None:
        """An object is hidden for a while. It is slow enough to be visible on each side of every border, so that each
        event can be reported."""
        size = self._body()
        self._walk(self.scene.seconds, self._feet(size), size, self._random.uniform(0.2, self._occlusion), fastest=130)

    def _cross_paths(self) -> None:
        """Two objects at about the same depth move towards each other; the one behind is hidden where they overlap by
        half."""
        begin, one, other = self.scene.seconds, self._body(), self._body()
        feet = self._feet(one)
        feet_behind = max(other[1], feet - self._random.uniform(0.02, 0.08) * SIZE[1])
        speeds = self._clear_speed(), self._clear_speed()
        start, end = self._random.uniform(60, 200), self._random.uniform(SIZE[0] - 200, SIZE[0] - 60)
        over, due = self._through(begin, start, end, speeds[0])
        self.scene.add(Actor(begin, over, one, lambda t: (start + speeds[0] * t, feet)), *due)
        over, due = self._through(begin, end, start, speeds[1])
        meet, half = begin + (end - start) / sum(speeds), (one[0] + other[0]) / 4 / sum(speeds)
        half = min(half, self._occlusion / 2)
        hidden = ((meet - half, meet + half),)
        self.scene.add(Actor(begin, over, other, lambda t: (end - speeds[1] * t, feet_behind), hidden), *due)

    def _clear_speed(self) -> float:
        """Return a speed that is clearly faster or clearly slower than loitering."""
        return self._random.choice((self._random.uniform(60, 72), self._random.uniform(140, 240)))

    def _stand_still(self) -> None:
        """An object walks in, stands longer than the time for loitering, and walks on."""
        size = self._body()
        begin, feet, speed = self.scene.seconds, self._feet(size), self._random.uniform(120, 220)
        start, stop, end = 100.0, self._random.uniform(LEFT + 70, MIDDLE - 60), SIZE[0] - 100.0
        rest = self._random.uniform(6.0, 12.0)
        there = (stop - start) / speed

        def at(t: float) -> Place:
            return start + speed * min(t, there) + speed * max(0.0, t - there - rest), feet

        moments = [begin + (LEFT - start) / speed, begin + rest + (MIDDLE - start) / speed]
        moments.append(begin + rest + (RIGHT - start) / speed)
        over = begin + rest + (end - start) / speed
        self.scene.add(
            Actor(begin, over, size, at),
            Due("enter", moments[0] - 0.3, moments[0] + self._late),
            Due("loiter", moments[0] + ZONE_LOITER - 0.3, moments[0] + ZONE_LOITER + self._late),
            Due("cross", moments[1] - 0.3, moments[1] + self._late, "left"),
            Due("exit", moments[2] - 0.3, moments[2] + self._late),
        )

    def _tremble_at_zone(self) -> None:
        """An object walks up to the border of the zone, sways there, and walks through the zone."""
        self._tremble(LEFT)

    def _tremble_on_line(self) -> None:
        self._tremble(MIDDLE)

    def _tremble(self, border: float) -> None:
        size = self._body()
        begin, feet, speed = self.scene.seconds, self._feet(size), self._random.uniform(130, 220)
        start, end, rest = 100.0, SIZE[0] - 100.0, self._random.uniform(4.0, 9.0)
        there, sway, phase = (border - start) / speed, 0.03 * size[0], self._random.uniform(2.0, 5.0)

        def at(t: float) -> Place:
            away = sway * math.sin(phase * (t - there)) if there < t < there + rest else 0.0
            return start + speed * min(t, there) + speed * max(0.0, t - there - rest) + away, feet

        def when(x: float) -> tuple[float, float]:
            """Return the earliest and the latest time of reaching ``x``; on the border itself, any time of the
            swaying."""
            low = begin + (x - start) / speed + (rest if x > border else 0.0)
            return low - 0.3, low + self._late + (rest if x == border else 0.0)

        due = [Due("enter", *when(LEFT)), Due("cross", *when(MIDDLE), "left"), Due("exit", *when(RIGHT))]
        if border == LEFT:
            due.append(Due("loiter", due[0].low + ZONE_LOITER, due[2].high, optional=True))
        else:
            entered = begin + (LEFT - start) / speed
            due.append(Due("loiter", entered + ZONE_LOITER - 0.3, entered + ZONE_LOITER + self._late))
        over = begin + rest + (end - start) / speed
        self.scene.add(Actor(begin, over, size, at), *due)

    def _appear_inside(self) -> None:
        """An object appears suddenly inside the zone and walks out to the right."""
        size = self._body()
        begin, feet, speed = self.scene.seconds, self._feet(size), self._random.uniform(150, 240)
        start, rest = self._random.uniform(MIDDLE + 50, RIGHT - 100), self._random.uniform(1.5, 2.5)

        def at(t: float) -> Place:
            return start + speed * max(0.0, t - rest), feet

        out = begin + rest + (RIGHT - start) / speed
        over = begin + rest + (SIZE[0] - 100 - start) / speed
        self.scene.add(
            Actor(begin, over, size, at),
            Due("enter", begin, begin + self._late),
            Due("exit", out - 0.3, out + self._late),
        )


ZONE_LOITER: Final = ZONE.loiter or 0.0


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: the detections, and the actor of each box (None for a false box)."""

    moment: float
    found: tuple[Detection, ...]
    whose: tuple[Actor | None, ...]


def shoot(scene: Scene, fps: float, seed: int, dropped: float = 0.2) -> Iterator[Shot]:
    """Yield simulated detections of a scene at ``fps`` frames a second; the share ``dropped`` of the frames is
    missing."""
    dice = random.Random(seed * 1000 + round(fps))
    moving = sorted(scene.actors, key=lambda actor: actor.begin)
    for number in range(math.ceil(scene.seconds * fps)):
        moment = number / fps
        if dice.random() < dropped:
            continue
        present = [actor for actor in _around(moving, moment) if actor.box(moment) is not None]
        boxes: list[tuple[Detection, Actor | None]] = [(_noisy(actor, moment, dice), actor) for actor in present]
        boxes += [(_false(dice), None) for _ in range(_poisson(dice, FALSE_BOXES))]
        dice.shuffle(boxes)
        yield Shot(moment, tuple(found for found, _ in boxes), tuple(actor for _, actor in boxes))


def _around(actors: Sequence[Actor], moment: float) -> Iterator[Actor]:
    return (actor for actor in actors if actor.begin <= moment < actor.end)


def _noisy(actor: Actor, moment: float, dice: random.Random) -> Detection:
    box = actor.box(moment)
    assert box is not None
    width, height = actor.size
    x, y = (box[0] + box[2]) / 2 + dice.gauss(0, NOISE * width), (box[1] + box[3]) / 2 + dice.gauss(0, NOISE * height)
    width, height = width * (1 + dice.gauss(0, NOISE)), height * (1 + dice.gauss(0, NOISE))
    return Detection(
        actor.label, 0, dice.uniform(0.55, 0.95), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    )


def _false(dice: random.Random) -> Detection:
    height = dice.uniform(80, 180)
    width = height * dice.uniform(0.35, 0.5)
    x, y = dice.uniform(width / 2, SIZE[0] - width / 2), dice.uniform(height / 2, SIZE[1] - height / 2)
    return Detection(
        "person", 0, dice.uniform(0.5, 0.8), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    )


def _poisson(dice: random.Random, mean: float) -> int:
    count, left = 0, dice.random() - math.exp(-mean)
    term = math.exp(-mean)
    while left > 0:
        count += 1
        term *= mean / count
        left -= term
    return count
