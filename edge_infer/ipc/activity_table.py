"""Shared memory with the active pipelines and their last sequence numbers, readable after the engine has died.

A crashed process sends no more reports, and its last report may be a second old. The supervisor owns this memory, which
still contains what the engine wrote last.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from edge_infer.ipc.messages import NumberedKind
from edge_infer.platform import memfd

MOST: Final = 512
NAME: Final = 64
_ENTRY: Final = struct.Struct(f"<QQ?7x{NAME}s")
"""One entry: the highest numbers of results and events, whether the pipeline is active, and its name."""
_NUMBER: Final = struct.Struct("<Q")
_AT: Final[dict[NumberedKind, int]] = {"result": 0, "event": _NUMBER.size}
_ON: Final = 2 * _NUMBER.size
_NAMED: Final = _ENTRY.size - NAME
_SIZE: Final = _ENTRY.size


def new_activity_table() -> int:
    """Return a memory file of fixed size; the process that starts engines owns it and passes it on."""
    fd = memfd.create("edge-infer-lights", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MOST * _SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def reset_activity(fd: int) -> None:
    """Reset the table before a new engine starts.

    The previous engine may have set the file to append mode. Because the file is sealed it cannot grow, so this flag is
    cleared first.
    """
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, bytes(MOST * _SIZE), 0)


def active_pipelines(fd: int) -> frozenset[str]:
    """Return the names of the active pipelines. A corrupted name matches no pipeline."""
    return frozenset(name for name, on, _ in _entries(fd) if on)


def numbers_given(fd: int) -> dict[tuple[str, NumberedKind], int]:
    """Return the highest sequence number of each pipeline and kind that has assigned a number."""
    found = {(name, kind): seq for name, _, numbers in _entries(fd) for kind, seq in numbers.items()}
    return {series: seq for series, seq in found.items() if seq}


def _entries(fd: int) -> Iterator[tuple[str, bool, dict[NumberedKind, int]]]:
    for results, events, on, name in _ENTRY.iter_unpack(os.pread(fd, MOST * _SIZE, 0)):
        yield name.rstrip(b"\0").decode("ascii", "replace"), on, {"result": results, "event": events}


class ActivityEntry:
    """Marks a pipeline as active inside a ``with`` block; for one thread at a time."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self._memory = memory
        self._place = place

    def __enter__(self) -> None:
        self._memory[self._place + _ON] = 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory[self._place + _ON] = 0


class ActivityTable:
    """The engine's view of the activity table. It takes over the file descriptor."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, MOST * _SIZE)
        os.close(fd)
        self._lock = threading.Lock()
        self._names: dict[str, int] = {}

    def of(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Return the activity marker of a pipeline, always the same one.

        If there are more than `MOST` pipelines, some get a marker without effect.
        """
        place = self._place(name)
        return contextlib.nullcontext() if place is None else ActivityEntry(self._memory, place)

    def numbered(self, name: str, kind: NumberedKind, seq: int) -> None:
        """Record that a pipeline has assigned this number."""
        if (place := self._place(name)) is not None:
            _NUMBER.pack_into(self._memory, place + _AT[kind], seq)

    def _place(self, name: str) -> int | None:
        place = self._names.get(name)
        if place is None:
            with self._lock:
                place = self._names.setdefault(name, len(self._names) * _SIZE)
                if place < MOST * _SIZE:
                    self._memory[place + _NAMED : place + _SIZE] = name.encode("ascii", "replace")[:NAME].ljust(
                        NAME, b"\0"
                    )
        return place if place < MOST * _SIZE else None
