"""The reader's end of a frames channel: it writes each frame once, into a free slot of the shared memory."""

from __future__ import annotations

import fcntl
import math
import os
import secrets
from typing import Final

import numpy as np

from edge_infer.errors import SourceError, WireError, shortened
from edge_infer.frames.frame import Pixels
from edge_infer.frames.pixels import Orientation
from edge_infer.ipc.channel import Channel
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
from edge_infer.readers.sources import Picture

TO_READER: Final = (ReaderHello, SlotFree, FramesWanted)
"""Record types that the reader's end of a frames channel accepts."""
MAX_AT_ONCE: Final = 100
"""Maximum number of records from the engine that are handled between two pictures."""
DARK: Final = 32
"""Brightness (of 255) below which a pixel is dark. A frame is black if 98 % of a sparse sample of pixels are dark (as
in FFmpeg's blackframe)."""


class SlotWriter:
    """Writes pictures into slots and notifies the engine; for one thread only. `frames` counts captured pictures.

    It allocates new memory for each frame format and for each engine that attaches. It then never writes to the old
    memory. It never overwrites the slot of the newest frame, because it compares the next frame with that frame.
    """

    def __init__(self, channel: Channel, orientation: Orientation) -> None:
        self.frames = 0
        self.greetings = 0
        self.looks: float | None = None
        """Maximum frames per second that the engine processes; None if unlimited or not reported yet."""
        self._channel = channel
        self._orientation = orientation
        self._format: FrameFormat | None = None
        self._told = False
        self._fd = -1
        self._memory: Pixels | None = None
        self._free: set[int] = set()
        self._newest: int | None = None
        self._placed: int | None = None  # the slot that `place` returned; `_given` is its pixels
        self._given: Pixels | None = None

    def poll(self) -> None:
        """Handle the records from the engine; raises `ChannelClosedError`."""
        for _ in range(MAX_AT_ONCE):
            if (record := self._channel.receive()) is None:
                return
            if isinstance(record, ReaderHello):
                self.greetings += 1
                self._forget()
            elif self._format is None or record.memory != self._format.memory:
                continue
            elif isinstance(record, FramesWanted):
                self.looks = record.looks
            elif 0 <= record.slot < FRAME_SLOTS:
                self._free.add(record.slot)

    def place(self) -> Pixels | None:
        """Return a free slot for the pixels of the next picture.

        Return None if no slot is free, or if the picture must be rotated.
        """
        self.poll()
        self._placed = self._unused() if self._orientation == Orientation() else None
        memory = self._memory
        self._given = None if memory is None or self._placed is None else memory[self._placed]
        return self._given

    def write(self, picture: Picture) -> bool:
        """Send one picture to the engine; return False if it was dropped because the engine holds all slots.

        A picture is not copied if its pixels are already in the slot from `place`.
        """
        self.frames += 1
        self.poll()
        memory = self._memory_for(picture)
        there = self._given is not None and picture.pixels is self._given
        slot = self._placed if there else self._unused()
        if slot is None or not self._tell_format():
            return False
        if not there:
            self._orientation.apply(picture.pixels, memory[slot])
        repeated = self._newest is not None and same(memory[slot], memory[self._newest])
        assert self._format is not None
        ready = FrameReady(
            memory=self._format.memory,
            slot=slot,
            number=self.frames,
            wall=picture.wall,
            monotonic=picture.monotonic,
            repeated=repeated,
            black=is_black(memory[slot]),
        )
        if not self._channel.send(ready):
            return False
        self._free.discard(slot)
        self._newest, self._given = slot, None
        return True

    def trouble(self, text: str, *, ended: bool = False) -> bool:
        """Send the engine the reason why there are no frames."""
        return self._channel.send(ReaderTrouble(shortened(text), ended))

    def close(self) -> None:
        """Release the memory and the channel; may be called twice."""
        self._forget()
        self._channel.close()

    def _unused(self) -> int | None:
        # Take the lowest slot: a slot that was never written takes no memory.
        return min((slot for slot in self._free if slot != self._newest), default=None)

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._format, self._memory, self._told = -1, None, None, False
        self._given = self.looks = None

    def _memory_for(self, picture: Picture) -> Pixels:
        height, width = self._orientation.shape(picture.pixels.shape)[:2]
        held = self._format
        if self._memory is not None and held is not None:
            if (held.height, held.width, held.color) == (height, width, picture.color):
                return self._memory
            self._forget()
        wanted = FrameFormat(secrets.randbits(48), height, width, picture.color)
        try:
            self._fd, self._memory = make_memory(wanted)
        except (WireError, OSError) as error:
            raise SourceError(f"not enough memory for frames of {width}x{height} pixels: {error}") from error
        self._format, self._free, self._newest = wanted, set(range(FRAME_SLOTS)), None
        return self._memory

    def _tell_format(self) -> bool:
        if not self._told:
            assert self._format is not None
            self._told = self._channel.send(self._format, files=(self._fd,))
        return self._told


def make_memory(wanted: FrameFormat) -> tuple[int, Pixels]:
    """Return a sealed memfd of fixed size, and its slots ``[slots, height, width(, 3)]``."""
    shape = frame_shape(wanted)
    size = math.prod(shape)
    fd = memfd.create("edge-infer-frames", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return fd, np.frombuffer(memfd.mapped(fd, size, writable=True), np.uint8).reshape(shape)
    except BaseException:
        os.close(fd)
        raise


def same(left: Pixels, right: Pixels) -> bool:
    """Return whether two frames are bit-equal.

    A sparse sample is compared first. Because of noise it differs for nearly all frames of a live camera, so the check
    is cheap.
    """
    return np.array_equal(left[::61, ::53], right[::61, ::53]) and np.array_equal(_words(left), _words(right))


def is_black(pixels: Pixels) -> bool:
    """Return whether at least 98 % of a sample (every sixteenth pixel in both directions) is darker than `DARK`."""
    sample = pixels[::16, ::16]
    return bool(np.count_nonzero(sample >= DARK) * 50 <= sample.size)


def _words(pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64 | np.uint8]]:
    flat = pixels.reshape(-1)
    return flat.view(np.uint64) if flat.size % 8 == 0 and flat.flags.c_contiguous else flat
