"""Wakes a process when the kernel reports a change in one of a few folders (inotify)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CHANGES: Final = 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF.

IN_MODIFY is not included, because a log file in the folder would wake the process with every line.
"""
_READ: Final = 1 << 16


class FolderEvents:
    """Its descriptor becomes readable after a change in a watched folder. Without inotify, `files` is empty.

    An event is only a hint: the caller examines the files, and does so from time to time without an event as well.
    Network file systems, and some links that lead elsewhere, cause no events.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch these folders in addition.

        Watching a folder again costs a system call, and is needed after it was replaced.
        """
        for folder in folders if self._fd >= 0 else ():
            self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _CHANGES)

    def files(self) -> list[int]:
        """Return the descriptor to wait on, if there is one."""
        return [self._fd] if self._fd >= 0 else []

    def happened(self) -> bool:
        """Return whether there has been a change since the last call."""
        found = False
        try:
            while self._fd >= 0 and os.read(self._fd, _READ):
                found = True
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def folders_of(path: Path) -> set[Path]:
    """Return the folders in which a change can lead ``path`` to another file: its own and those of links on its way."""
    try:
        links = {each.parent for each in (path, *path.parents) if each.is_symlink()}
        return {path.parent, path.resolve().parent, *links}
    except (OSError, RuntimeError, ValueError):  # no access, or a circle of links: examining the file reports it
        return {path.parent}
