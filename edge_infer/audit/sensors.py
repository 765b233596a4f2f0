"""A microphone, a sensor and a text source that give only the pattern; readers use them like any other source."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from edge_infer.audit.canary import Canary
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block, Words

if TYPE_CHECKING:
    from typing_extensions import Self

_STRETCH: Final = 0.1
"""Length of a block of a signal in seconds; a slow signal is read sample by sample."""
_PAUSE: Final = 0.2
"""Seconds between two lines."""


@dataclass(frozen=True, slots=True)
class PatternOptions:
    """``pattern`` is the text of a `Canary`; ``rate`` is in samples per second, each with ``channels`` values."""

    pattern: str
    rate: float = 1.0
    channels: int = 1


class _Paced(Closing):
    """Common part of both sources: waiting for the next turn, and interruption."""

    live: ClassVar[bool] = True
    noisy: ClassVar[bool] = False
    network: bool = False
    lossless: bool = False
    Options = PatternOptions

    def __init__(self, options: PatternOptions) -> None:
        self._options = options
        self._canary = Canary.from_text(options.pattern)
        self._closed = threading.Event()
        self._due = 0.0
        self._count = 0

    def __enter__(self) -> Self:
        self._closed.clear()
        self._due = time.monotonic()
        return self

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop. May be called twice."""
        self._closed.set()

    def _turn(self, pause: float) -> bool:
        """Wait for the next turn; return False if the source is closed."""
        self._due = max(self._due + pause, time.monotonic() - 1.0)
        return not self._closed.wait(max(0.0, self._due - time.monotonic()))


class PatternSamples(_Paced):
    """The rows of the pattern as a signal from -1 to 1, each level for a while (`Canary.samples`)."""

    gives: ClassVar[Gives] = "samples"

    def read(self) -> Block | None:
        """Return the next block."""
        rate, channels = self._options.rate, self._options.channels
        count = max(1, round(rate * _STRETCH))
        if not self._turn(count / rate):
            return None
        values = self._canary.samples(rate, self._count, count)
        self._count += count
        block = np.repeat(np.asarray(values, np.float32)[:, None], channels, axis=1)
        return Block(block, rate, time.time(), time.monotonic())


class PatternLines(_Paced):
    """Lines of the pattern's words."""

    gives: ClassVar[Gives] = "text"

    def read(self) -> Words | None:
        """Return the next line; a number makes each line different."""
        if not self._turn(_PAUSE):
            return None
        self._count += 1
        return Words(f"{self._canary.line()} {self._count}", time.time(), time.monotonic())
