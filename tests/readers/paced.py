"""A live source for tests of the reader itself: frames that carry their own checksum, and what else is wanted."""

from __future__ import annotations

import os
import signal
import time
import zlib
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Pixels
from edge_infer.plan.records import Gives
from edge_infer.readers.sources import Picture, Place, no_place

TARGET = "tests.readers.paced:PacedSource"


@dataclass(frozen=True, slots=True)
class PacedOptions:
    """``act`` is what happens at frame ``at``: end, fail, hang, die (in mid-write), resize, throw; before it nothing.

    Frames differ; ``placed``: they are written where the reader says.
    """

    act: str = ""
    at: int = 1_000_000
    width: int = 160
    height: int = 120
    pause: float = 0.0
    placed: bool = True


def checksum(pixels: Pixels) -> int:
    """Of everything but the first four bytes, which hold it."""
    return zlib.crc32(pixels.reshape(-1)[4:])


def sealed_with_checksum(pixels: Pixels) -> bool:
    return int(pixels.reshape(-1)[:4].copy().view(np.uint32)[0]) == checksum(pixels)


class PacedSource:
    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    Options = PacedOptions

    def __init__(self, options: PacedOptions) -> None:
        self._options = options
        self._random = np.random.default_rng()
        self._count = 0
        self.place: Place = no_place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Picture | None:
        self._count += 1
        options = self._options
        height, width = options.height, options.width
        if self._count >= options.at:
            if options.act == "end":
                return None
            if options.act == "fail":
                raise SourceError("the lens fell off")
            if options.act == "throw":
                raise RuntimeError("a fault of a plug-in")
            if options.act == "hang":
                time.sleep(3600)
            if options.act == "resize":
                height, width = width, height
        time.sleep(options.pause)
        fresh = self._random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        fresh.reshape(-1)[:4] = np.array([checksum(fresh)], np.uint32).view(np.uint8)
        place = self.place() if options.placed else None
        pixels = fresh if place is None or place.shape != fresh.shape else place
        pixels[: height // 2] = fresh[: height // 2]
        if options.act == "die" and self._count >= options.at:
            os.kill(os.getpid(), signal.SIGKILL)
        pixels[height // 2 :] = fresh[height // 2 :]
        return Picture(pixels, "bgr", time.time(), time.monotonic())

    def close(self) -> None:
        """Nothing is open."""
