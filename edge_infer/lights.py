"""What each pipeline is at when the engine dies: a byte of memory for each, which the engine sets and others read.

A process that crashes says nothing any more, and its last report is up to a second old. Memory that the supervisor owns
still has what was written last.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from types import TracebackType
from typing import Final

MOST: Final = 512
NAME: Final = 64
_SIZE: Final = 1 + NAME
"""Of an entry: whether the light is on, and whose it is."""


def new_lights() -> int:
    """The file, which exists in memory only; whoever starts engines owns it and hands it on."""
    fd = os.memfd_create("edge-infer-lights", os.MFD_CLOEXEC)
    os.ftruncate(fd, MOST * _SIZE)
    return fd


def put_out(fd: int) -> None:
    """Nobody is at anything: another engine begins."""
    os.pwrite(fd, bytes(MOST * _SIZE), 0)


def lit(fd: int) -> frozenset[str]:
    """Whose light is on; what is no name is nobody's."""
    data = os.pread(fd, MOST * _SIZE, 0)
    entries = (data[start : start + _SIZE] for start in range(0, len(data), _SIZE))
    return frozenset(each[1:].rstrip(b"\0").decode("ascii", "replace") for each in entries if each[0])


class Light:
    """On between enter and exit, by one thread at a time."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self._memory = memory
        self._place = place

    def __enter__(self) -> None:
        self._memory[self._place] = 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory[self._place] = 0


class Lights:
    """The engine's side of the file, which it owns from now on."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, MOST * _SIZE)
        os.close(fd)
        self._lock = threading.Lock()
        self._names: dict[str, int] = {}

    def of(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The light of a pipeline, always the same one; of more than `MOST` some have none."""
        with self._lock:
            place = self._names.setdefault(name, len(self._names) * _SIZE)
        if place >= MOST * _SIZE:
            return contextlib.nullcontext()
        self._memory[place + 1 : place + _SIZE] = name.encode("ascii", "replace")[:NAME].ljust(NAME, b"\0")
        return Light(self._memory, place)
