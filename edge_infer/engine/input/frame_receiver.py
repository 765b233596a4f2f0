"""The engine's end of the channel to a picture reader: borrows the newest frame in shared memory, one at a time."""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_infer.contract.codec import replace
from edge_infer.errors import WireError, shortened
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.ipc.channel import Channel, ChannelClosedError
from edge_infer.ipc.messages import (
    FRAME_SLOTS,
    FrameFormat,
    FrameReady,
    FramesWanted,
    ReaderHello,
    ReaderTrouble,
    SlotFree,
    frame_shape,
)
from edge_infer.platform import memfd
from edge_infer.platform.closing import Closing
from edge_infer.platform.event_loop import readable
from edge_infer.platform.memory import usable_memory
from edge_infer.platform.rate_limits import TokenBucket

log = logging.getLogger(__name__)

MAX_MEMORY: Final = 1 << 30
"""Upper limit in bytes for the frames of one source, however large the board's memory is."""
FROM_READER: Final = (FrameFormat, FrameReady, ReaderTrouble)
"""Records that the engine accepts from a picture reader."""
NOT_LENT: Final = 3
"""Slots that are never lent: one holds the newest frame here, one is in transit, and one is being written."""
MOST_AT_ONCE: Final = 64
"""Maximum number of records that one call processes: more than a reader's slots can cause between two calls."""
MOST_QUEUED: Final = 1000
"""Maximum number of records that a channel can hold."""
MAX_FAULTS, FAULTS_PER_SECOND = 50, 1.0
"""Limits for protocol faults of a reader, above which it counts as an attacker: a burst, and a rate per second."""
DEAF: Final = 1.0
"""Seconds for which the engine ignores a reader that floods it. The supervisor ends the reader in the meantime."""


class _ReaderMemory:
    """The shared memory of a reader: slots for frames of one format, mapped read-only here."""

    def __init__(self, block: mmap.mmap, wanted: FrameFormat) -> None:
        self.format = wanted
        self._block = block
        self._shape = frame_shape(wanted)[1:]
        self._size = math.prod(self._shape)

    def pixels(self, slot: int) -> Pixels:
        """Return the pixels of a slot as a new base array.

        The lifetime of this array shows whether any view of it is still in use.
        """
        flat: Pixels = np.frombuffer(self._block, np.uint8, self._size, slot * self._size)
        return flat.reshape(self._shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Loan:
    """A lent slot, and the base array of all views of its pixels. The array is freed with the last view."""

    slot: SlotFree
    pixels: weakref.ref[Any]


class FrameReceiver(Closing):
    """Borrows the newest frame of a reader; owns the channel to it, which accepts `FROM_READER`.

    The receiver holds one slot: the frame that `receive` returned last, until the next one arrives. The slots of lent
    frames stay with the pipelines that use them. Frame numbers begin with 1, even if the reader captured frames before.
    A restarted reader continues in the same channel, and its frame numbers continue the numbers of its predecessor. A
    missing number is a frame that was captured but that `receive` never returned.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._greeted = False
        self._memory: _ReaderMemory | None = None
        self._held: FrameReady | None = None
        self._lies_in: _ReaderMemory | None = None  # memory of the held frame; it may outlive the reader that made it
        self._lent: list[_Loan] = []
        self._last = 0
        self._base = 0
        self._free: deque[SlotFree] = deque()
        self._trouble: ReaderTrouble | None = None
        self._looks: float | None = None  # the frame rate that was last requested of the reader
        self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._deaf_until = 0.0
        self.offence = ""
        """Repeated protocol violation of the reader, for which the engine ignores the reader for a while; empty without
        a violation."""

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until `receive` has something to return; consumes nothing."""
        if self._deaf():
            time.sleep(min(timeout, DEAF))
            return False
        if not self._greeted:
            self._greet()
        return self._trouble is not None or bool(readable([self._channel.fd], timeout=timeout))

    def receive(self, timeout: float = 0.0) -> FrameReady | ReaderTrouble | None:
        """Return the next event within ``timeout`` seconds. Of several frames, hold and return the newest.

        Raises `ChannelClosedError` when both the reader and the supervisor are gone. Any other fault of a reader is
        returned as a `ReaderTrouble`.
        """
        if self._deaf():
            return None
        if not self._greeted:
            self._greet()
        self._tell_free()
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            return trouble
        try:
            return self._newest(timeout)
        except ChannelClosedError:
            raise
        except (WireError, OSError) as error:
            if not self._faults.take():
                self._turn_deaf(f"too many invalid records: {error}")
            return ReaderTrouble(shortened(f"the reader sent an invalid record: {error}"))

    def want(self, looks: float | None) -> None:
        """Request from the reader the frame rate that pipelines take (None: all frames), if it has changed."""
        memory = self._memory
        if memory is None or looks == self._looks:
            return
        if self._channel.send(FramesWanted(memory.format.memory, looks)):
            self._looks = looks

    def renew(self, channel: Channel) -> None:
        """Continue with another channel, to a restarted reader; the held frame stays valid."""
        self._channel.close()
        self._channel, self._greeted, self._looks = channel, False, None

    def lend(self) -> Frame:
        """Return the held frame without copying. The slot is not overwritten while any view of its pixels exists.

        If the reader would otherwise run out of slots, return a copy.
        """
        held, memory = self._holding()
        self._collect()
        if len(self._lent) >= FRAME_SLOTS - NOT_LENT:
            return self.copy()
        pixels = memory.pixels(held.slot)
        self._lent.append(_Loan(SlotFree(held.memory, held.slot), weakref.ref(pixels.base)))
        return Frame(pixels, memory.format.color, held.wall, held.monotonic, held.number)

    def copy(self) -> Frame:
        """Return a copy of the held frame; raises `WireError` when none is held."""
        held, memory = self._holding()
        pixels = memory.pixels(held.slot).copy()
        return Frame(pixels, memory.format.color, held.wall, held.monotonic, held.number)

    def close(self) -> None:
        """Close the channel; may be called twice.

        The held frame stays valid for a pipeline that is about to take it.
        """
        self._channel.close()

    def _holding(self) -> tuple[FrameReady, _ReaderMemory]:
        if self._held is None or self._lies_in is None:
            raise WireError("no frame is held")
        return self._held, self._lies_in

    def _let_go(self) -> None:
        """Release the held frame. If it is lent, its slot returns later."""
        held, self._held, self._lies_in = self._held, None, None
        if held is not None and not self._is_lent(slot := SlotFree(held.memory, held.slot)):
            self._free.append(slot)

    def _collect(self) -> None:
        """Take back the slots of the frames that no pipeline uses any more."""
        for loan in [loan for loan in self._lent if loan.pixels() is None]:
            self._lent.remove(loan)
            held = self._held
            if not self._is_lent(loan.slot) and (held is None or loan.slot != SlotFree(held.memory, held.slot)):
                self._free.append(loan.slot)

    def _is_lent(self, slot: SlotFree) -> bool:
        return any(loan.slot == slot for loan in self._lent)

    def _greet(self) -> None:
        """Discard the queued records, which are frames for a previous engine, then greet the reader."""
        for _ in range(MOST_QUEUED):
            try:
                if self._channel.receive() is None:
                    break
            except ChannelClosedError:
                raise
            except (WireError, OSError) as error:
                log.debug("discarded a record for the previous engine: %s", error)
        self._greeted = self._channel.send(ReaderHello())

    def _tell_free(self) -> None:
        self._collect()
        while self._free and self._channel.send(self._free[0]):
            self._free.popleft()

    def _deaf(self) -> bool:
        return time.monotonic() < self._deaf_until

    def _turn_deaf(self, what: str) -> None:
        """Ignore the reader for a moment, then greet it (or its successor) again."""
        self.offence = shortened(what)
        self._deaf_until = time.monotonic() + DEAF
        self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._greeted = False

    def _newest(self, timeout: float) -> FrameReady | ReaderTrouble | None:
        newest: FrameReady | None = None
        trouble: ReaderTrouble | None = None
        record, seen = self._channel.wait(timeout), 1
        while record is not None:
            if isinstance(record, ReaderTrouble):
                trouble = record
            elif isinstance(record, FrameFormat):
                newest = None
                self._map(record)
            elif self._memory is not None and record.memory == self._memory.format.memory:
                newest, trouble = self._take(record, newest), None
            seen += 1
            record = self._channel.receive() if seen < MOST_AT_ONCE else None
        if seen >= MOST_AT_ONCE:  # a reader has fewer slots, so only repeated faults cause more records
            self._turn_deaf(f"{MOST_AT_ONCE} or more records at once")
        self._tell_free()
        if newest is None:
            return trouble
        self._trouble = trouble
        return newest

    def _take(self, ready: FrameReady, before: FrameReady | None) -> FrameReady:
        """Hold this frame in place of the current one.

        ``before`` is a frame that was replaced before a caller received it.
        """
        memory = self._memory
        assert memory is not None
        if not 0 <= ready.slot < FRAME_SLOTS:
            raise WireError(f"slot {ready.slot} of {FRAME_SLOTS}")
        check_moment(ready.monotonic)
        self._let_go()
        if not self._last:
            self._base = 1 - ready.number  # frames captured before the first one do not count as missing
        elif self._base + ready.number <= self._last:
            self._base = self._last  # a new reader starts at 1
        number = self._last = self._base + ready.number
        repeated = ready.repeated and (before is None or before.repeated)
        self._held, self._lies_in = replace(ready, number=number, repeated=repeated), memory
        return self._held

    def _map(self, wanted: FrameFormat) -> None:
        """Map the reader's new memory, after checking that a hostile reader cannot shrink it later."""
        fd = self._channel.take_file()
        self._memory = None
        try:
            size = math.prod(frame_shape(wanted))  # np.prod wraps around on a 32-bit board
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            if size > (most := largest_memory()):
                raise WireError(
                    f"{FRAME_SLOTS} frames of {wanted.width}x{wanted.height} pixels are too large: this board "
                    f"has {most >> 20} MiB for the frames of one source; make the frames smaller"
                )
            if not seals & fcntl.F_SEAL_SHRINK or os.fstat(fd).st_size < size:
                raise WireError("the shared memory is too small or can shrink")
            block = memfd.mapped(fd, size, writable=False)
        finally:
            os.close(fd)
        self._memory, self._looks = _ReaderMemory(block, wanted), None


def check_moment(monotonic: float) -> None:
    """Raise `WireError` for a negative capture time of the monotonic clock, or one in the future.

    The engine could not report such a time: its results would be invalid records, for which the supervisor would kill
    the engine.
    """
    if not monotonic >= 0:  # NaN, too
        raise WireError(f"monotonic is {monotonic:.3g}; it must be time.monotonic() at the capture")
    if (early := monotonic - time.monotonic()) > 0:
        raise WireError(f"monotonic is {early:.3g} s in the future; it must be time.monotonic() at the capture")


def largest_memory() -> int:
    """Return the maximum bytes for the frames of a source.

    A reader could announce more memory than the board has, and reading its pages would allocate them.
    """
    return min(MAX_MEMORY, (usable_memory() or MAX_MEMORY) // 4)
