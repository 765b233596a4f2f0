"""Painted scenes with known truth, as a source, and a decoder that finds what is painted: a whole pipeline, cheaply.

Actors are red rectangles that walk, stand, creep, come and vanish before a gray wall with the noise of a sensor. A
decoder of another package finds them in the very input of the model, so that what a pipeline says depends on its looks.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Layout
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Boxes
from edge_infer.engine.replay.replay import Replayed, replay
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import (
    DecoderPlan,
    EventsPlan,
    Gives,
    InputPlan,
    ModelPlan,
    NmsPlan,
    PipelinePlan,
    SourcePlan,
)
from edge_infer.readers.sources import Picture

if TYPE_CHECKING:
    from typing_extensions import Self

SIZE: Final = (320, 240)
FPS: Final = 10.0
NOISES: Final = 8
"""Different pictures of noise; they come back shifted."""
RED: Final = 60
"""How much redder than green a pixel of an actor is, at least."""
SEEN: Final = (30, 20, 220)
UNSEEN: Final = (60, 82, 200)
"""Colours (blue, green, red): one that is much darker than the wall, and one that is just as bright (a gray of 115)."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Actor:
    """A rectangle of ``size``; ``path`` is where its middle is at which second, straight in between."""

    path: tuple[tuple[float, float, float], ...]
    size: tuple[int, int] = (36, 60)
    blends: bool = False  # as bright as the wall

    def box(self, moment: float) -> Box | None:
        """Where it is, if it is there."""
        times, xs, ys = (np.array(column) for column in zip(*self.path, strict=True))
        if not times[0] <= moment < times[-1]:
            return None
        x, y = float(np.interp(moment, times, xs)), float(np.interp(moment, times, ys))
        return x - self.size[0] / 2, y - self.size[1] / 2, x + self.size[0] / 2, y + self.size[1] / 2


@dataclass(frozen=True, slots=True)
class Stage:
    """A scene of so many ``seconds``; ``lights`` are the moments at which the light is switched."""

    actors: tuple[Actor, ...]
    seconds: float
    noise: float = 4.0
    lights: tuple[float, ...] = ()
    fps: float = FPS

    def truth(self, moment: float) -> list[Box | None]:
        """Where each actor is."""
        return [actor.box(moment) for actor in self.actors]


STAGES: Final[dict[str, Stage]] = {}
"""What the source shows, by name: filled by a test."""


@dataclass(frozen=True, slots=True)
class PaintedOptions:
    """The name of a stage."""

    stage: str
    size: tuple[int, int] = SIZE


class Painted:
    """A recording of a stage."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = False
    network: bool = False
    lossless = True
    Options = PaintedOptions

    def __init__(self, options: PaintedOptions) -> None:
        self._stage = STAGES[options.stage]
        self._dice = np.random.default_rng(zlib.crc32(options.stage.encode()))
        self._number = 0
        wall = cv2.GaussianBlur(self._dice.uniform(0, 255, (SIZE[1], SIZE[0])), (0, 0), 9)
        gray = cv2.normalize(wall, None, 105, 125, cv2.NORM_MINMAX)[..., None].repeat(3, axis=2)
        self._wall = gray.astype(np.int16)
        noise = self._dice.normal(0.0, self._stage.noise, (NOISES, *self._wall.shape))
        self._noise = noise.astype(np.int16)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Picture | None:
        """The next frame."""
        moment = self._number / self._stage.fps
        if moment >= self._stage.seconds:
            return None
        self._number += 1
        pixels = self._wall.copy()
        for actor in self._stage.actors:
            if (box := actor.box(moment)) is not None:
                xmin, ymin, xmax, ymax = (round(side) for side in box)
                color = UNSEEN if actor.blends else SEEN
                cv2.rectangle(pixels, (xmin, ymin), (xmax - 1, ymax - 1), color, cv2.FILLED)
        pixels += np.roll(self._noise[self._number % NOISES], self._number // NOISES, axis=1)
        if sum(moment >= at for at in self._stage.lights) % 2:
            pixels -= pixels // 3
        return Picture(np.clip(pixels, 0, 255).astype(np.uint8), "bgr", time.time(), time.monotonic(), moment)

    def close(self) -> None:
        """Nothing to let go of."""


class Paint:
    """Finds what is red in the input. With ``misses`` it overlooks things, with ``ghosts`` it sees some: by chance,
    but the same for the same input."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    wants_input: ClassVar[bool] = True
    classes = 1

    def __init__(self, layout: Layout) -> None:
        self._misses = float(str(layout.options.get("misses", 0.0)))
        self._ghosts = float(str(layout.options.get("ghosts", 0.0)))

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Boxes in fractions of the input."""
        picture = tensors[-1][0].astype(np.int16)
        dice = random.Random(zlib.crc32(tensors[-1].tobytes()))
        red = (picture[..., 0] - picture[..., 1] > RED * 0.6).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(red)
        height, width = red.shape
        rows = [stats[label, :4].tolist() for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= 6]
        found = [(x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h in rows]
        found = [box for box in found if dice.random() >= self._misses]
        if dice.random() < self._ghosts:
            x, y = dice.uniform(0, 0.8), dice.uniform(0, 0.8)
            found.append((x, y, x + 0.1, y + 0.2))
        scores = np.full(len(found), 0.9, np.float32)
        return Boxes(np.array(found, np.float32).reshape(-1, 4), scores, np.zeros(len(found), np.int32))

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None:
        """Never."""
        del inputs, outputs
        return None


def painted_model(file: Path, tiles: tuple[int, int] = (1, 1), **options: float) -> ModelPlan:
    """The plan of a model whose outputs nobody looks at."""
    model = resolve(ModelRequest("paint", str(file)))
    assert isinstance(model.input, InputPlan)
    decoder = DecoderPlan("paint", f"{Paint.__module__}:Paint", options)
    taken = replace(model.input, tiles=tiles, overlap=0.1 if tiles != (1, 1) else 0.0, scaling="fast")
    return replace(model, task="detection", labels=("red",), decoder=decoder, threshold=0.5, input=taken, nms=NmsPlan())


def painted_plan(model: ModelPlan, **settings: Any) -> PipelinePlan:
    """A pipeline that says everything."""
    plan = PipelinePlan("stage", "cam", model, 0.5, publish="every")
    if settings.get("track") is not None:
        settings = {"events": EventsPlan()} | settings
    return replace(plan, **settings)


def recording(name: str) -> SourcePlan:
    """The source of a stage."""
    target = f"{Painted.__module__}:Painted"
    return SourcePlan("cam", "painted", target, live=False, network=False, options={"stage": name}, noisy=False)


def shown(name: str, stage: Stage, plan: PipelinePlan) -> list[Replayed]:
    """Every frame of a stage that went through a pipeline."""
    STAGES[name] = stage
    return list(replay((plan,), recording(name), "abcdef", paced=False))
