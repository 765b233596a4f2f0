"""Synthetic frames: moving shapes or pictures at known positions; the same seed gives the same frames.

Such frames are for trying a configuration without a camera, and for tests: `SyntheticSource.truth` returns the expected
objects.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import cv2
import numpy as np

from edge_infer.contract.messages import FractionBox
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Pixels
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Picture
from edge_infer.readers.sources.images import read_picture

if TYPE_CHECKING:
    from typing_extensions import Self

SHAPES: Final = ("circle", "square", "triangle")
LARGEST: Final = 0.5
"""Maximum size of moving objects, as a share of the frame's sides."""


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """``images`` are picture files, used in turn, that move in place of the shapes."""

    width: int = 640
    height: int = 480
    seed: int = 0
    objects: int = 3
    images: tuple[str, ...] = ()
    realtime: bool = True
    fps: float = 10.0

    def __post_init__(self) -> None:
        if self.width < 16 or self.height < 16:
            raise ValueError(f"size {self.width}x{self.height} is too small; expected at least 16x16")
        if self.objects < 0 or self.fps <= 0:
            raise ValueError("objects and fps must not be negative, and fps not 0")


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: its picture and mask, its position in frame 0, and its speed in pixels per frame."""

    label: str
    pixels: Pixels
    mask: Pixels
    start: tuple[float, float]
    speed: tuple[float, float]


class SyntheticSource(Closing):
    """Objects that move straight and bounce off the edges of the frame. Frames are numbered from 1 and never end."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = False
    network: bool = False
    Options = SyntheticOptions

    def __init__(self, options: SyntheticOptions) -> None:
        self.lossless = not options.realtime
        self._options = options
        self._closed = threading.Event()
        self._things: tuple[Thing, ...] | None = None
        self._background: Pixels | None = None
        self._number = 0
        self._due = self._position = 0.0

    def __enter__(self) -> Self:
        self._closed.clear()
        self._cast()
        self._number, self._due = 0, time.monotonic()
        return self

    def read(self) -> Picture | None:
        """Return the next frame, when it is due; None if closed in the meantime."""
        if self._options.realtime:
            if self._closed.wait(max(0.0, self._due - time.monotonic())):
                return None
            self._due = max(self._due + 1 / self._options.fps, time.monotonic())
        self._number += 1
        wall, monotonic = time.time(), time.monotonic()
        position, self._position = self._position, self._position + 1 / self._options.fps
        place = None if self._options.realtime else position
        return Picture(self.frame(self._number), "bgr", wall, monotonic, place)

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop; may be called twice."""
        self._closed.set()

    def frame(self, number: int) -> Pixels:
        """Return the pixels of frame ``number``; later objects cover earlier ones."""
        things = self._cast()
        assert self._background is not None
        pixels: Pixels = self._background.copy()
        for thing in things:
            x, y = self._place(thing, number)
            height, width = thing.mask.shape
            np.copyto(pixels[y : y + height, x : x + width], thing.pixels, where=thing.mask[:, :, None] > 0)
        return pixels

    def truth(self, number: int) -> list[tuple[str, FractionBox]]:
        """Return the objects in frame ``number``: labels and boxes as fractions, including covered ones."""
        return [(thing.label, self._box(thing, number)) for thing in self._cast()]

    def _box(self, thing: Thing, number: int) -> FractionBox:
        x, y = self._place(thing, number)
        height, width = thing.mask.shape
        across, down = self._options.width, self._options.height
        return (x / across, y / down, (x + width) / across, (y + height) / down)

    def _place(self, thing: Thing, number: int) -> tuple[int, int]:
        height, width = thing.mask.shape
        room = (self._options.width - width, self._options.height - height)
        steps = zip(thing.start, thing.speed, room, strict=True)
        x, y = (bounce(start + speed * number, most) for start, speed, most in steps)
        return x, y

    def _cast(self) -> tuple[Thing, ...]:
        """Return the objects, which are created once."""
        if self._things is None:
            options, random = self._options, np.random.default_rng(self._options.seed)
            noise = random.integers(90, 140, (options.height // 8 + 1, options.width // 8 + 1, 3), dtype=np.uint8)
            background = cv2.resize(noise, (options.width, options.height), interpolation=cv2.INTER_LINEAR)
            self._background = np.asarray(background, np.uint8)
            self._things = tuple(self._make(index, random) for index in range(options.objects))
        return self._things

    def _make(self, index: int, random: np.random.Generator) -> Thing:
        options = self._options
        if options.images:
            label, pixels, mask = load_cutout(
                options.images[index % len(options.images)], options.width, options.height
            )
        else:
            label = SHAPES[index % len(SHAPES)]
            side = max(4, int(min(options.width, options.height) * random.uniform(0.12, 0.3)))
            pixels, mask = draw_shape(label, side, random)
        start = (float(random.uniform(0, options.width)), float(random.uniform(0, options.height)))
        speed = (
            float(random.uniform(0.004, 0.02) * options.width * random.choice((-1, 1))),
            float(random.uniform(0.004, 0.02) * options.height * random.choice((-1, 1))),
        )
        return Thing(label, pixels, mask, start, speed)


def bounce(position: float, most: int) -> int:
    """Return the position of a point that bounces between the ends of a line of ``most`` pixels."""
    if most <= 0:
        return 0
    rest = position % (2 * most)
    return min(most, round(rest if rest <= most else 2 * most - rest))


def draw_shape(label: str, side: int, random: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Return pixels and mask of a shape that fills ``side`` x ``side`` pixels, in a strong colour."""
    mask = np.zeros((side, side), np.uint8)
    if label == "circle":
        middle = (side - 1) / 2
        down, across = np.mgrid[:side, :side]
        mask[(down - middle) ** 2 + (across - middle) ** 2 <= (side / 2) ** 2] = 255
    elif label == "square":
        mask[:] = 255
    else:
        cv2.fillConvexPoly(mask, np.array([[side // 2, 0], [side - 1, side - 1], [0, side - 1]], np.int32), 255)
    color = random.permutation(np.array([20, 235, int(random.integers(20, 236))], np.uint8))
    return np.broadcast_to(color, (side, side, 3)).copy(), mask


def load_cutout(file: str, width: int, height: int) -> tuple[str, Pixels, Pixels]:
    """Load a picture that the source moves across the frame, scaled to at most half the frame's width and height.

    The result is the file's name without its suffix, the pixels and the mask.
    """
    pixels = read_picture(Path(file))
    scale = min(1.0, LARGEST * width / pixels.shape[1], LARGEST * height / pixels.shape[0])
    size = (max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale)))
    if min(size) < 2:
        raise SourceError(f"the picture {file} is too narrow to move in the frame")
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Path(file).stem, small, np.full(small.shape[:2], 255, np.uint8)
