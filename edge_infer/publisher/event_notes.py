"""Where it is noted which events are open: in memory that outlives every room, and now and then on the card."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Record, at_most, decode_json
from edge_infer.errors import WireError
from edge_infer.messages import Boot, Name, Number
from edge_infer.publisher.bucket import Bucket
from edge_infer.publisher.keepsake import Keepsake
from edge_infer.rooms import EventHandover
from edge_infer.slate import Slate

log = logging.getLogger(__name__)

FILE: Final = "open-events.json"
MOST: Final = 16384
"""Events that are remembered, the oldest first to go; an engine opens at most 256 in each pipeline."""
MOST_BYTES: Final = 30 << 20
WRITE_EVERY: Final = 20.0
"""Seconds between two writes of the file at least: what begins in between stays open after a power cut."""
WEAR: Final = 200
"""Bytes a second that the file may cost the card in the long run (17 MB a day): where events never rest, or the file is
large, it is written less often."""
PAGE: Final = 4096
AROUND: Final = 4
"""Pages that a new file costs beside its own: of its folder, of inodes, and of what is free (ext4, as measured)."""
SAVED: Final = 2
"""Writes of a small file that may come in a row, after a rest."""


class Last(Record, frozen=True):
    """The highest number of an event of a pipeline in a boot."""

    pipeline: Name
    boot: Boot
    seq: Number


class Ended(Record, frozen=True):
    """What began, and the number of its end, which is neither with the broker nor on the disk yet."""

    begun: EventHandover
    seq: Number


class Noted(Record, frozen=True):
    """The begins of what is open, where the numbers of their boots have come to, and ends that are not safe yet.

    ``exact``: nothing has happened after it was noted. The file counts what is not safely ended as open.
    """

    begun: Annotated[tuple[EventHandover, ...], at_most(MOST)] = ()
    last: Annotated[tuple[Last, ...], at_most(MOST)] = ()
    ended: Annotated[tuple[Ended, ...], at_most(MOST)] = ()
    exact: bool = False


class EventNotes:
    """Reads what a process before this one noted, and notes it for the next."""

    def __init__(self, slate: Slate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._slate = slate
        self._clock = clock
        self._file = Keepsake(Noted, FILE, MOST_BYTES, "events that are open now may stay open at the broker")
        self._write_at = -math.inf
        self._wear = Bucket(WEAR, clock, burst=SAVED * (1 + AROUND) * PAGE / WEAR)

    def read(self, folder: Path) -> Noted:
        """From memory, where the publisher alone has died; else from the file."""
        if self._slate is not None and (noted := self._slate.read()) is not None:
            try:
                return decode_json(Noted, noted)
            except WireError as error:
                log.warning("what the publisher before this one noted cannot be read: %s", error)
        return self._file.read(folder) or Noted()

    def keep(self, noted: bytes) -> None:
        """Notes it in memory, where there is some: at once, and without wear."""
        if self._slate is not None:
            self._slate.write(noted)

    @property
    def due(self) -> bool:
        """Whether the file may be written again."""
        return self._clock() >= self._write_at and not self._wear.pause()

    def file(self, folder: Path, noted: bytes) -> bool:
        """Writes the file, due or not; False when that failed."""
        if self.due:
            self._wear.take((math.ceil(len(noted) / PAGE) + AROUND) * PAGE)
        self._write_at = self._clock() + WRITE_EVERY
        return self._file.put(folder, noted)
