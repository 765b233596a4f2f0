"""What a room may reach of the files and of the network, as a value: what Landlock is told, and what is compared."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Identity = tuple[str, int, int, int]
"""A path with the device and the inode that it leads to, and for a character device since when that is what it is."""
UnixUse = Literal["", "names", "sound", "programs"]
"""What a process needs Unix sockets for: the names of hosts, a sound service, or a program that is not ours."""
Places = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Absolute paths beyond the program itself (see `places`); a folder stands for everything below it.

    ``writes`` may be read, too. ``files`` may be read as long as they are no folders.
    ``anywhere``: all files may be read, because the program that does it is not ours.
    ``ports`` are the TCP ports that may be connected to; None: any. ``unix`` is what it needs Unix sockets for; empty:
    it makes none.

    No `Record`: whoever locks a process needs nothing but the standard library for it.
    """

    reads: Places = ()
    writes: Places = ()
    ports: tuple[int, ...] | None = None
    anywhere: bool = False
    unix: UnixUse = ""
    files: Places = ()

    def covers(self, other: Fence) -> bool:
        """Whether a process behind this fence reaches everything that ``other`` lets through."""
        reads = self.anywhere or (
            all(_within(path, self.reads + self.writes) for path in other.reads)
            and all(path in self.files or _within(path, self.reads + self.writes) for path in other.files)
        )
        writes = all(_within(path, self.writes) for path in other.writes)
        ports = self.ports is None or (other.ports is not None and set(other.ports) <= set(self.ports))
        sockets = bool(self.unix) or not other.unix
        return reads and writes and ports and sockets and (self.anywhere or not other.anywhere)


def _within(path: str, places: Places) -> bool:
    return any(PurePath(path).is_relative_to(place) for place in places)


def identities(places: Places) -> frozenset[Identity]:
    """Which files these paths lead to now: a fence holds for these, not for what takes their place."""
    found = set()
    for path in places:
        try:
            status = os.stat(path)  # noqa: PTH116 - follows links, as the fence does
        except OSError:
            continue
        # A terminal that is made anew has the inode of the one that went before.
        since = status.st_ctime_ns if stat.S_ISCHR(status.st_mode) else 0
        found.add((path, status.st_dev, status.st_ino, since))
    return frozenset(found)
