"""The board's own condition as a signal, for models that learn its normal condition."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.board import ProcessorLoad, hottest, memory_used
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.faults import Faults

if TYPE_CHECKING:
    from typing_extensions import Self

Column = Literal["cpu", "memory", "temperature"]
LATE: Final = 1.0
"""Seconds that reading may lag behind before samples are skipped."""


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """``rate`` is samples a second."""

    columns: tuple[Column, ...] = ("cpu", "memory", "temperature")
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns is empty; expected some of cpu, memory, temperature")
        if not 0 < self.rate <= 50:  # the kernel counts processor time in ticks of 10 ms
            raise ValueError(f"invalid rate {self.rate:g}; expected samples a second, at most 50")


class SystemSource(Closing):
    """Single samples: processor load and used memory as fractions of 1, and the hottest zone in degrees Celsius.

    The source reads a few kernel files. Reading them cannot hang, so it needs no reader process. ``root`` holds
    ``proc`` and ``sys``.
    """

    gives: ClassVar[Gives] = "samples"
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = False
    network: bool = False
    lossless: bool = False
    Options = SystemOptions

    def __init__(self, options: SystemOptions, root: Path = Path("/")) -> None:
        self.faults = Faults()
        self._options = options
        self._root = root
        self._closed = threading.Event()
        self._load = ProcessorLoad(root)
        self._due = 0.0

    def __enter__(self) -> Self:
        self._closed.clear()
        self._load = ProcessorLoad(self._root)
        self._due = time.monotonic()
        return self

    def read(self) -> Block | None:
        """Return the next sample, when it is due; raises `SourceError` for values that this board does not report."""
        interval = 1 / self._options.rate
        now = time.monotonic()
        missed = int((now - self._due) / interval) if now - self._due > max(LATE, 2 * interval) else 0
        if missed:
            self.faults.note(f"{missed} samples missed because the board was too slow", missed)
        self._due += (1 + missed) * interval
        if self._closed.wait(max(0.0, self._due - now)):
            return None
        values = np.array([[self._value(column) for column in self._options.columns]], np.float32)
        return Block(values, self._options.rate, time.time(), time.monotonic(), bool(missed))

    def check(self) -> None:
        """Check that this board reports all requested values; raises `SourceError`."""
        for column in self._options.columns:
            if column != "cpu":
                self._value(column)

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop; may be called twice."""
        self._closed.set()

    def _value(self, column: Column) -> float:
        if column == "cpu":
            value = self._load.since_last()
        else:
            value = memory_used(self._root) if column == "memory" else hottest(self._root)
        if value is None:
            raise SourceError(f"this board does not report its {column}; remove it from columns")
        return value
