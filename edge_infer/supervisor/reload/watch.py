"""Detection of changes of the configuration file, however it was written, once the file is stable.

inotify wakes the process for a check. It reports neither every retargeted link nor changes on a network file system, so
the process also checks once per second. After a change it checks ten times per second until the file is stable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edge_infer.platform.config_files import FOLDER, look_at
from edge_infer.platform.folder_events import FolderEvents, folders_of
from edge_infer.platform.paths import Look, look

EVERY: Final = 0.1
"""Seconds between two checks of a file that has changed or is missing, or without inotify."""
CALM: Final = 1.0
"""Seconds between two checks while nothing changes."""
STILL: Final = 0.5
"""Seconds without a change before a file is read."""
RESTLESS: Final = 10.0
"""Seconds of constant changes after which the problem is reported."""

GONE: Final = 3.0
"""Seconds without a file after which the problem is reported; replacing a file takes less."""
LACKING_EVERY: Final = 1.0
"""Seconds between two checks of files that could not be used."""
FUTILE: Final = 3
"""Number of consecutive readings during which the file changed, after which the problem is also reported."""


class LackingFiles:
    """Files that a rejected configuration names and that are missing or that this user may not read.

    A new file or permission changes no byte of the configuration, so `ConfigWatcher` does not notice it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: dict[Path, Look] = {}
        self._seen: list[Look] = []
        self._looked = 0.0

    def expect(self, paths: Sequence[str]) -> None:
        """Watch these files from now on, and no others."""
        self._looks = {path: look(path) for path in map(Path, paths)}
        self._seen = [*self._looks.values()]

    def mended(self) -> bool:
        """Return True once when one of the files has changed and all are as at the last check."""
        now = self._clock()
        if not self._looks or now - self._looked < LACKING_EVERY:
            return False
        self._looked = now
        before, self._seen = self._seen, [look(path) for path in self._looks]
        if self._seen != before or self._seen == [*self._looks.values()]:
            return False
        self._looks.clear()
        return True


def is_missing(path: Path) -> bool:
    """Return whether there is no such file; False if it may be behind a folder that this user may not enter."""
    try:
        path.stat()
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    return False


class ConfigWatcher:
    """The configuration file and the files of ``conf.d``, with their state when they were last read."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read: Look = ()
        self._seen: Look = ()
        self._since = self._looked = clock()
        self._still = True  # the file was stable before the current reading
        self._futile = 0
        self._changing: float | None = None  # since when it differs from the file that was read last
        self._told = False
        self._told_gone = False
        self._events = FolderEvents()
        self._events.watch(self._folders())

    def reading(self) -> None:
        """Mark the current file as read; call it just before a reading."""
        found = look_at(self._path)
        self._still = found == self._seen and self._clock() - self._since >= STILL
        self._read = self._seen = found
        self._changing = None
        self._told_gone = not found  # the reader reports that

    def moved(self, seen: Look) -> bool:
        """Return whether the content that was read, in state ``seen``, may be half-written.

        If so, `changed` returns True again when the file is stable. If the file is missing now, the result is False,
        because reading it again cannot help.
        """
        whole = self._still and seen == self._read
        moved = not whole and look_at(self._path) not in ((), self._read)
        self._futile = self._futile + 1 if moved else 0
        self._told &= moved
        return moved

    def changed(self) -> bool:
        """Return whether to read the file now: it differs from the last one read and has been stable for long enough.

        The result is False for a missing file: either a new one appears in a moment, or reading cannot help.
        """
        now = self._clock()
        if not self._events.happened() and now < self.due():
            return False
        self._events.watch(self._folders())
        self._looked, found = now, look_at(self._path)
        if found != self._seen:
            self._seen, self._since = found, now
            self._changing = None if found in ((), self._read) else self._changing or now
        return bool(found) and found != self._read and now - self._since >= STILL

    def changing(self) -> bool:
        """Return whether the file differs from the one read last, so that it will be read once it is stable."""
        return self._changing is not None

    def gone(self) -> bool:
        """Return True once when the file has been missing or unreachable for `GONE` seconds."""
        if self._seen or self._clock() - self._since < GONE:
            self._told_gone &= not self._seen
            return False
        told, self._told_gone = self._told_gone, True
        self._read = ()  # whatever comes back is read, also the same file in a folder that was closed for a while
        return not told

    def unstable(self) -> bool:
        """Return True once when the file changes too often to be read."""
        long = self._changing is not None and self._clock() - self._changing >= RESTLESS
        if self._told or not (long or self._futile >= FUTILE):
            return False
        self._told = True
        return True

    def due(self) -> float:
        """Return the monotonic time of the next check; an inotify event may cause an earlier one."""
        calm = self._seen and self._seen == self._read and self._events.files()
        return self._looked + (CALM if calm else EVERY)

    def files(self) -> list[int]:
        """Return the descriptors to wait on."""
        return self._events.files()

    def close(self) -> None:
        """Watch no longer; may be called twice."""
        self._events.close()

    def _folders(self) -> set[Path]:
        return {*folders_of(self._path), self._path.parent / FOLDER}
