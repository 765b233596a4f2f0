"""Notes of open events: in memory that survives the processes, and at intervals in a file on the card."""

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
"""Maximum number of remembered events; the oldest are dropped first. An engine opens at most 256 in each pipeline."""
MOST_BYTES: Final = 30 << 20
WRITE_EVERY: Final = 20.0
"""Minimum seconds between two writes of the file. After a power cut, events that began in between stay open."""
WEAR: Final = 200
"""Bytes a second that the file may write to the card in the long run (17 MB a day). With constant events or a large
file, writes are less frequent."""
PAGE: Final = 4096
AROUND: Final = 4
"""Extra pages that a new file costs: for its folder, inodes and the free-space map (ext4, measured)."""
SAVED: Final = 2
"""Number of writes of a small file that may follow each other after a rest."""


class Last(Record, frozen=True):
    """The highest event number of a pipeline in a boot."""

    pipeline: Name
    boot: Boot
    seq: Number


class Ended(Record, frozen=True):
    """A begin, and the number of its end, which neither the broker nor the disk has yet."""

    begun: EventHandover
    seq: Number


class Noted(Record, frozen=True):
    """The begins of open events, the highest numbers of their boots, and ends that are not safe yet.

    ``exact``: nothing has happened since. The file lists every event without a safe end as open.
    """

    begun: Annotated[tuple[EventHandover, ...], at_most(MOST)] = ()
    last: Annotated[tuple[Last, ...], at_most(MOST)] = ()
    ended: Annotated[tuple[Ended, ...], at_most(MOST)] = ()
    exact: bool = False


class EventNotes:
    """Reads the notes of an earlier process and writes those for the next one."""

    def __init__(self, slate: Slate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._slate = slate
        self._clock = clock
        self._file = Keepsake(Noted, FILE, MOST_BYTES, "events that are open now may stay open at the broker")
        self._write_at = -math.inf
        self._wear = Bucket(WEAR, clock, burst=SAVED * (1 + AROUND) * PAGE / WEAR)

    def read(self, folder: Path) -> Noted:
        """Return the notes from memory if only the publisher has died, otherwise from the file."""
        if self._slate is not None and (noted := self._slate.read()) is not None:
            try:
                return decode_json(Noted, noted)
            except WireError as error:
                log.warning("notes of the previous publisher cannot be read: %s", error)
        return self._file.read(folder) or Noted()

    def keep(self, noted: bytes) -> None:
        """Write the notes to shared memory, if there is one: at once and without wear."""
        if self._slate is not None:
            self._slate.write(noted)

    @property
    def due(self) -> bool:
        """Whether the file may be written again."""
        return self._clock() >= self._write_at and not self._wear.pause()

    def file(self, folder: Path, noted: bytes) -> bool:
        """Write the file, due or not; return False on failure."""
        if self.due:
            self._wear.take((math.ceil(len(noted) / PAGE) + AROUND) * PAGE)
        self._write_at = self._clock() + WRITE_EVERY
        return self._file.put(folder, noted)
