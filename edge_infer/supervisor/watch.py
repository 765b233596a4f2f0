"""Looks whether the configuration file has changed, however it was written, and says so once it stands still.

It is looked at, not waited for: inotify tells neither of a link far away that now leads elsewhere nor of a network
file system, and a look costs some microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_infer.config.look import Look, look

EVERY: Final = 0.1
"""Seconds between two looks."""
STILL: Final = 0.5
"""Seconds that a file has to stand still before it is read."""
RESTLESS: Final = 10.0
"""Seconds of changes without a rest, after which somebody should know."""

GONE: Final = 3.0
"""Seconds without a file after which somebody should know: who replaces one by another needs less."""
FUTILE: Final = 3
"""Readings in a row of a file that changed meanwhile, after which somebody should know, too."""


class Watch:
    """A path, and what lay there when it was last read."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read: Look = ()
        self._seen: Look = ()
        self._since = self._looked = clock()
        self._still = True  # what is being read stood still before
        self._futile = 0
        self._changing: float | None = None  # since when it is another one than was read last
        self._told = False
        self._told_gone = False

    def reading(self) -> None:
        """It is about to be read: what lies there now is no news any more."""
        found = look(self._path)
        self._still = found == self._seen and self._clock() - self._since >= STILL
        self._read = self._seen = found
        self._changing = None
        self._told_gone = not found  # whoever reads it says so

    def moved(self, seen: Look) -> bool:
        """Whether what was read, and looked like ``seen``, may be half of what somebody was just writing.

        If so, `changed` says it once more when the file stands still. A file that has gone cannot be read better.
        """
        whole = self._still and seen == self._read
        moved = not whole and look(self._path) not in ((), self._read)
        self._futile = self._futile + 1 if moved else 0
        self._told &= moved
        return moved

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
            self._changing = None if not found else now if self._changing is None else self._changing
        return bool(found) and found != self._read and now - self._since >= STILL

    def gone(self) -> bool:
        """Whether there has been no file for a while, or none that can be found; said once."""
        if self._seen or self._clock() - self._since < GONE:
            self._told_gone &= not self._seen
            return False
        told, self._told_gone = self._told_gone, True
        return not told

    def restless(self) -> bool:
        """Whether it changes all the time, so that it cannot be read; said once."""
        long = self._changing is not None and self._clock() - self._changing >= RESTLESS
        if self._told or not (long or self._futile >= FUTILE):
            return False
        self._told = True
        return True

    def due(self) -> float:
        """When to look again, on the monotonic clock."""
        return self._looked + EVERY
