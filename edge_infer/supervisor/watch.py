"""Looks whether the configuration file has changed, however it was written, and says so once it stands still.

It is looked at, not waited for: inotify tells neither of a link far away that now leads elsewhere nor of a network
file system, and a look costs some microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

EVERY: Final = 0.1
"""Seconds between two looks."""
STILL: Final = 0.5
"""Seconds that a file has to stand still before it is read."""

Look: TypeAlias = tuple[int, ...] | None
"""Device, inode, size and times of what the path leads to, inode and time of the last link; None: nothing."""


class Watch:
    """A path, and what lay there when it was last read."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read: Look = None
        self._seen: Look = None
        self._since = self._looked = clock()

    def reading(self) -> None:
        """It is about to be read: what lies there now is no news any more."""
        self._read = self._seen = look(self._path)

    def changed(self) -> bool:
        """Whether to read it now: it is another one than was read last, and has stood still for long enough.

        A file that has gone is not read: a moment later another one will be there, or nothing can be done about it.
        """
        now = self._clock()
        if now - self._looked < EVERY:
            return False
        self._looked, found = now, look(self._path)
        if found != self._seen:
            self._seen, self._since = found, now
        return found is not None and found != self._read and now - self._since >= STILL

    def due(self) -> float:
        """When to look again, on the monotonic clock."""
        return self._looked + EVERY


def look(path: Path) -> Look:
    """What lies there, told by nothing but its metadata."""
    try:
        last, through = path.stat(), path.lstat()
    except OSError:
        return None
    return (
        last.st_dev, last.st_ino, last.st_size, last.st_mtime_ns, last.st_ctime_ns,
        through.st_ino, through.st_mtime_ns,
    )  # fmt: skip
