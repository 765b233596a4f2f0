"""A source as in another package: a few pictures at a steady rate, whose capture times follow exactly from payloads.

A payload contains the capture time in whole milliseconds, rounded down. Pictures are captured half a millisecond after
a whole one. So a reader of the payload can compute the capture time to some microseconds.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from edge_infer.closing import Closing
from edge_infer.config.plan import Gives
from edge_infer.readers.sources import Picture

if TYPE_CHECKING:
    from typing_extensions import Self

FPS: Final = 30.0
PART: Final = 0.0005
"""Seconds from the last whole millisecond to each capture."""
EXACT: Final = 0.00002
"""Maximum seconds by which a capture may be later."""
AWAKE: Final = 0.0003
"""Seconds before a capture in which the source polls the clock, because a sleep may end late."""
MANY: Final = 8


@dataclass(frozen=True, slots=True)
class MetronomeOptions:
    """Size of the pictures."""

    width: int = 320
    height: int = 240


class Metronome(Closing):
    """Pictures of noise, in turn, `FPS` times a second."""

    gives: ClassVar[Gives] = "image"
    lasting: ClassVar[bool] = True
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = False
    network: bool = False
    lossless: bool = False
    Options = MetronomeOptions

    def __init__(self, options: MetronomeOptions) -> None:
        self._size = (options.height, options.width, 3)
        self._closed = threading.Event()
        self._due = 0.0
        self._number = 0

    def __enter__(self) -> Self:
        self._closed.clear()
        random = np.random.default_rng(0)
        self._pictures = [random.integers(0, 256, self._size).astype(np.uint8) for _ in range(MANY)]
        self._due = time.time()
        return self

    def read(self) -> Picture | None:
        """Return the next picture when it is due; None if closed in the meantime."""
        self._due = max(self._due + 1 / FPS, time.time())
        at = math.floor(self._due * 1000) / 1000 + PART
        if self._closed.wait(max(0.0, at - AWAKE - time.time())):
            return None
        while (wall := time.time()) < at or (wall - PART) % 0.001 > EXACT:
            pass
        self._number += 1
        return Picture(self._pictures[self._number % MANY], "bgr", wall, time.monotonic())

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop; may be called twice."""
        self._closed.set()
