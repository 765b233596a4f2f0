"""The files and network that a process may access, as a comparable value. Landlock rules are made from this value."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Identity = tuple[str, int, int, int]
"""A path with the device and inode of its target; for a character device also its change time."""
UnixUse = Literal["", "names", "sound", "programs"]
"""Purpose of Unix sockets: to resolve host names, to reach a sound service, or for an external program."""
Places = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Absolute paths in addition to the program itself (see `system_paths`); a folder includes everything below it.

    - ``writes``: may be written and read.
    - ``files``: may be read unless they are folders.
    - ``anywhere``: all files may be read, because an external program reads any of them.
    - ``ports``: the TCP ports to which the process may connect; None: any; empty: it creates no internet sockets.
    - ``unix``: the purpose of Unix sockets; empty: the process creates none.
    - ``listens``: the process accepts a connection on the loopback interface, over which it wakes itself, as paho does.
    - ``names``: the hosts that a child of the process resolves for it.
    - ``datagrams``: the process sends UDP, to resolve names itself or to receive a stream.
    - ``max_file_bytes``: the maximum size of every file that it writes; 0: no limit.
    - ``foreign_code``: code of a plug-in or of a sound library runs in the process, which may have fewer open files.

    This is not a `Record`, because a process must be able to lock itself with the standard library alone.
    """

    reads: Places = ()
    writes: Places = ()
    ports: tuple[int, ...] | None = None
    anywhere: bool = False
    unix: UnixUse = ""
    files: Places = ()
    listens: bool = False
    names: tuple[str, ...] = ()
    datagrams: bool = False
    max_file_bytes: int = 0
    foreign_code: bool = False

    def covers(self, other: Fence) -> bool:
        """Return whether a process with this fence can access everything that ``other`` permits."""
        reads = self.anywhere or (
            all(_within(path, self.reads + self.writes) for path in other.reads)
            and all(path in self.files or _within(path, self.reads + self.writes) for path in other.files)
        )
        writes = all(_within(path, self.writes) for path in other.writes)
        ports = self.ports is None or (other.ports is not None and set(other.ports) <= set(self.ports))
        sockets = bool(self.unix) or not other.unix
        listens = self.listens or not other.listens
        names = set(other.names) <= set(self.names) and (self.datagrams or not other.datagrams)
        sizes = other.max_file_bytes <= self.max_file_bytes
        anywhere = self.anywhere or not other.anywhere
        return reads and writes and ports and sockets and listens and names and sizes and anywhere


def _within(path: str, places: Places) -> bool:
    return any(PurePath(path).is_relative_to(place) for place in places)


def identities(places: Places) -> frozenset[Identity]:
    """Return the identities of the files to which these paths lead now.

    A fence admits these files, not their replacements.
    """
    found = set()
    for path in places:
        try:
            status = os.stat(path)  # noqa: PTH116 - follows links, as the fence does
        except (OSError, ValueError):  # no path contains a NUL
            continue
        # A terminal that is created again has the same inode as its predecessor; only the change time differs.
        since = status.st_ctime_ns if stat.S_ISCHR(status.st_mode) else 0
        found.add((path, status.st_dev, status.st_ino, since))
    return frozenset(found)
