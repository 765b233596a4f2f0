"""One captured item with its time: a picture, a block of samples, or a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import FrameRecord
from edge_infer.frames.geometry import Region
from edge_infer.plan.records import Color

if TYPE_CHECKING:
    from edge_infer.engine.cascade.sighting import Sighted, Sighting


# Time of a capture on both clocks.

JUMP: Final = 0.5
"""Difference in seconds between the progress of wall clock and monotonic clock that counts as a clock jump."""
ROUNDING: Final = 0.001
"""Tolerance of frame times in seconds."""
BELIEVED: Final = 2.0
"""Seconds for which every frame must confirm a sighting. Then the sighting is assumed to last, even if its event is due
later."""


class Instant(NamedTuple):
    """Time on two clocks: ``moment`` for durations (monotonic clock), ``wall`` for people (since the epoch).

    Both are in seconds.
    """

    moment: float
    wall: float

    def of(self, earlier: Instant) -> float:
        """Return the wall time of an earlier instant by this instant's clock, at most this instant's wall time.

        A board without a battery clock sets its clock late. The elapsed time is correct, so the earlier wall time is
        computed from the elapsed time.
        """
        elapsed = self.moment - earlier.moment
        jump = self.wall - earlier.wall - elapsed
        return min(self.wall, earlier.wall if abs(jump) < JUMP else self.wall - elapsed)


Pixels: TypeAlias = NDArray[np.uint8]
"""``[height, width, 3]`` or, for gray, ``[height, width]``."""

Signal: TypeAlias = NDArray[np.float32]
"""``[n, channels]``."""


class Frame(FrameRecord, frozen=True):
    """An image of ``color`` channel order; pipelines share it, so none may write into ``pixels``.

    - ``wall`` is seconds since the epoch and ``monotonic`` seconds of the monotonic clock, both at capture.
    - ``number`` counts the frames that the source captured, from 1.
    - ``region`` is the part of the image on which the model runs; None: all of it.
    - ``position`` is the position in a recording in seconds, if the recording is read faster than real time.
    - ``sighting`` holds the objects that another pipeline has found in this image; ``parent`` is the object that
      ``region`` shows.
    """

    pixels: Pixels
    color: Color
    wall: float
    monotonic: float
    number: int
    region: Region | None = None
    position: float | None = None
    sighting: Sighting | None = None
    parent: Sighted | None = None

    gap: ClassVar[bool] = False
    covers: ClassVar[float] = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def moment(self) -> float:
        """Capture time on a clock that never jumps; in a recording, the position in the recording."""
        return self.monotonic if self.position is None else self.position

    @property
    def instant(self) -> Instant:
        """Capture time on both clocks."""
        return Instant(self.moment, self.wall)


class Samples(FrameRecord, frozen=True):
    """A block of a signal: ``values`` is ``[n, channels]``, ``rate`` is in samples per second.

    The timestamps are those of the last sample; ``number`` counts the blocks of the source, from 1. ``gap`` is true if
    samples are missing between the previous block and this one. A window must not span a gap, so the engine
    drops the samples of a window that the gap interrupts.
    """

    values: Signal
    rate: float
    wall: float
    monotonic: float
    number: int
    gap: bool = False
    parent: ClassVar[None] = None

    @property
    def moment(self) -> float:
        """Capture time of the last sample on a clock that never jumps."""
        return self.monotonic

    @property
    def covers(self) -> float:
        """Seconds from the first to the last sample, both included."""
        return len(self.values) / self.rate

    @property
    def instant(self) -> Instant:
        """Capture time of the last sample."""
        return Instant(self.monotonic, self.wall)


class Line(FrameRecord, frozen=True):
    """A line of text without its line ending; ``number`` counts the lines of the source, from 1."""

    text: str
    wall: float
    monotonic: float
    number: int
    gap: ClassVar[bool] = False
    covers: ClassVar[float] = 0.0
    parent: ClassVar[None] = None

    @property
    def moment(self) -> float:
        """Arrival time on a clock that never jumps."""
        return self.monotonic

    @property
    def instant(self) -> Instant:
        """Arrival time on both clocks."""
        return Instant(self.monotonic, self.wall)


Captured: TypeAlias = Frame | Samples | Line
"""Any item that a source gives. The attribute ``gives`` of the source's class states which of the three it is."""
