"""The engine's end of a reader: the newest frame in shared memory, borrowed one at a time."""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import select
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_infer import memfd
from edge_infer.allowance import Allowance
from edge_infer.channel import Channel, ChannelClosedError
from edge_infer.closing import Closing
from edge_infer.codec import replace
from edge_infer.engine.frame import Frame, Pixels
from edge_infer.errors import WireError, shortened
from edge_infer.rooms import FrameFormat, FrameReady, FramesWanted, ReaderHello, ReaderTrouble, SlotFree

log = logging.getLogger(__name__)

MAX_MEMORY: Final = 1 << 30
"""Bytes that the frames of one source may take, however large the board's memory is."""
FROM_READER: Final = (FrameFormat, FrameReady, ReaderTrouble)
"""What the engine's end of a frames channel accepts."""
LARGEST_SIDE: Final = 16_384
MOST_SLOTS: Final = 16
NOT_LENT: Final = 3
"""Slots that the way itself takes: the newest frame, held here, one that is on its way, one that is being written."""
MOST_AT_ONCE: Final = 64
"""Records of a reader that are looked at in one call: more than it can say of its slots in between."""
MOST_QUEUED: Final = 1000
"""Records that a channel can hold at most."""
MAX_FAULTS, FAULTS_PER_SECOND = 50, 1.0
"""What a reader may do wrong before it counts as an attack."""
DEAF: Final = 1.0
"""Seconds that a reader which floods is not heard: the supervisor kills it meanwhile."""


class _Memory:
    """What a reader has made: slots for frames of one format, which can be read and not written here."""

    def __init__(self, block: mmap.mmap, wanted: FrameFormat) -> None:
        self.format = wanted
        self._block = block
        self._shape = frame_shape(wanted)[1:]
        self._size = math.prod(self._shape)

    def pixels(self, slot: int) -> Pixels:
        """Those of a slot. Each time of another array, by which those who have a view of it are known."""
        flat: Pixels = np.frombuffer(self._block, np.uint8, self._size, slot * self._size)
        return flat.reshape(self._shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Loan:
    """A slot, and the array that all views of its pixels rest on: with the last of them it is gone."""

    slot: SlotFree
    pixels: weakref.ref[Any]


class FrameReceiver(Closing):
    """Borrows the newest frame of a reader; owns the channel, which accepts `FROM_READER`.

    One slot is held: the frame that `receive` returned last, until the next one comes. Those of frames that were lent
    stay with who has them. Numbers begin with 1, whatever the reader has captured before. A reader that was restarted
    goes on in the same channel; the numbers of its frames continue those of its predecessor, so that missing ones are
    frames that were captured and never returned here.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._greeted = False
        self._memory: _Memory | None = None
        self._held: FrameReady | None = None
        self._lies_in: _Memory | None = None  # the held frame: its memory outlives the reader that made it
        self._lent: list[_Loan] = []
        self._last = 0
        self._base = 0
        self._free: deque[SlotFree] = deque()
        self._trouble: ReaderTrouble | None = None
        self._looks: float | None = None  # what the reader knows
        self._faults = Allowance(MAX_FAULTS, FAULTS_PER_SECOND)
        self._deaf_until = 0.0
        self.offence = ""
        """What the reader sends against the rules of the wire again and again; it is not heard for a while."""

    def wait(self, timeout: float) -> bool:
        """Waits up to ``timeout`` seconds until `receive` has something to say; takes nothing."""
        if self._deaf():
            time.sleep(min(timeout, DEAF))
            return False
        if not self._greeted:
            self._greet()
        return self._trouble is not None or bool(select.select([self._channel.fd], [], [], timeout)[0])

    def receive(self, timeout: float = 0.0) -> FrameReady | ReaderTrouble | None:
        """What is new within ``timeout`` seconds; of several frames the newest, which is then held.

        Raises `ChannelClosedError` when both the reader and the supervisor are gone. Whatever else a reader does
        wrong comes out as a `ReaderTrouble`.
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
                self._turn_deaf(f"invalid records without end: {error}")
            return ReaderTrouble(shortened(f"the reader said something impossible: {error}"))

    def want(self, looks: float | None) -> None:
        """Tells the reader that so many frames a second are looked at (None: all), if it does not know it yet."""
        memory = self._memory
        if memory is None or looks == self._looks:
            return
        if self._channel.send(FramesWanted(memory.format.memory, looks)):
            self._looks = looks

    def lend(self) -> Frame:
        """The held frame where it lies: nobody writes there while anybody has its pixels, or a view of them.

        With pixels of its own where so many are lent that the reader would run out of slots.
        """
        held, memory = self._holding()
        self._collect()
        if len(self._lent) >= memory.format.slots - NOT_LENT:
            return self.copy()
        pixels = memory.pixels(held.slot)
        self._lent.append(_Loan(SlotFree(held.memory, held.slot), weakref.ref(pixels.base)))
        return Frame(pixels, memory.format.color, held.wall, held.monotonic, held.number)

    def copy(self) -> Frame:
        """The held frame with pixels of its own; raises `WireError` when none is held."""
        held, memory = self._holding()
        pixels = memory.pixels(held.slot).copy()
        return Frame(pixels, memory.format.color, held.wall, held.monotonic, held.number)

    def close(self) -> None:
        """Closes the channel; may be called twice. What is held stays for a pipeline that is about to take it."""
        self._channel.close()

    def _holding(self) -> tuple[FrameReady, _Memory]:
        if self._held is None or self._lies_in is None:
            raise WireError("no frame is held")
        return self._held, self._lies_in

    def _let_go(self) -> None:
        """Nothing is held any more; a slot that is lent comes back later."""
        held, self._held, self._lies_in = self._held, None, None
        if held is not None and not self._is_lent(slot := SlotFree(held.memory, held.slot)):
            self._free.append(slot)

    def _collect(self) -> None:
        """Takes back what nobody has any more."""
        for loan in [loan for loan in self._lent if loan.pixels() is None]:
            self._lent.remove(loan)
            held = self._held
            if not self._is_lent(loan.slot) and (held is None or loan.slot != SlotFree(held.memory, held.slot)):
                self._free.append(loan.slot)

    def _is_lent(self, slot: SlotFree) -> bool:
        return any(loan.slot == slot for loan in self._lent)

    def _greet(self) -> None:
        """What is queued was meant for an engine before this one: its frames are old."""
        for _ in range(MOST_QUEUED):
            try:
                if self._channel.receive() is None:
                    break
            except ChannelClosedError:
                raise
            except (WireError, OSError) as error:
                log.debug("left over from before: %s", error)
        self._greeted = self._channel.send(ReaderHello())

    def _tell_free(self) -> None:
        self._collect()
        while self._free and self._channel.send(self._free[0]):
            self._free.popleft()

    def _deaf(self) -> bool:
        return time.monotonic() < self._deaf_until

    def _turn_deaf(self, what: str) -> None:
        """Hears the reader no more for a moment, then greets it, or the one after it, anew."""
        self.offence = shortened(what)
        self._deaf_until = time.monotonic() + DEAF
        self._faults = Allowance(MAX_FAULTS, FAULTS_PER_SECOND)
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
        if seen >= MOST_AT_ONCE:  # it has fewer slots, and sends nothing else again and again
            self._turn_deaf(f"{MOST_AT_ONCE} records and more at once")
        self._tell_free()
        if newest is None:
            return trouble
        self._trouble = trouble
        return newest

    def _take(self, ready: FrameReady, before: FrameReady | None) -> FrameReady:
        """Holds a frame instead of the one held so far; ``before`` was never returned to anybody."""
        memory = self._memory
        assert memory is not None
        if not 0 <= ready.slot < memory.format.slots:
            raise WireError(f"slot {ready.slot} of {memory.format.slots}")
        check_moment(ready.monotonic)
        self._let_go()
        if not self._last:
            self._base = 1 - ready.number  # what was captured before is missing to nobody here
        elif self._base + ready.number <= self._last:
            self._base = self._last  # a new reader counts from 1 again
        number = self._last = self._base + ready.number
        repeated = ready.repeated and (before is None or before.repeated)
        self._held, self._lies_in = replace(ready, number=number, repeated=repeated), memory
        return self._held

    def _map(self, wanted: FrameFormat) -> None:
        """The reader's new memory, after a look at what a hostile one could do: shrink it while it is being read."""
        fd = self._channel.take_file()
        self._memory = None
        try:
            size = math.prod(frame_shape(wanted))  # np.prod wraps around on a 32-bit board
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            if size > (most := largest_memory()):
                raise WireError(
                    f"{wanted.slots} frames of {wanted.width}x{wanted.height} pixels are too large: this board has "
                    f"{most >> 20} MiB for those of one source; let it give smaller ones"
                )
            if not seals & fcntl.F_SEAL_SHRINK or os.fstat(fd).st_size < size:
                raise WireError("its memory is too small or can shrink")
            block = memfd.mapped(fd, size, writable=False)
        finally:
            os.close(fd)
        self._memory, self._looks = _Memory(block, wanted), None


def check_moment(monotonic: float) -> None:
    """Raises `WireError` for a time of capture that is still to come: a latency below 0 has no place in any report."""
    if (early := monotonic - time.monotonic()) > 0:
        raise WireError(f"monotonic lies {early:.3g} s in the future; it must be time.monotonic() at the capture")


def largest_memory() -> int:
    """Bytes that the frames of one source may take: its reader could announce many, and what is read is there."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MAX_MEMORY, memory // 4)


def frame_shape(wanted: FrameFormat) -> tuple[int, ...]:
    """Shape of the whole memory: ``[slots, height, width(, 3)]``; raises `WireError` for an impossible one."""
    sides = (wanted.height, wanted.width)
    if not 1 <= wanted.slots <= MOST_SLOTS or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise WireError(f"{wanted.slots} frames of {wanted.width}x{wanted.height} pixels")
    channels = () if wanted.color == "gray" else (3,)
    return (wanted.slots, *sides, *channels)
