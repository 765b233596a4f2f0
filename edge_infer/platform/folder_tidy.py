"""Removes foreign entries from a folder that a hostile process may change at the same time.

Nothing outside that folder is ever removed, whatever another process renames in the meantime. A call does a bounded
amount of work with at most five open files, whatever the depth and number of the entries.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_infer.errors import shortened
from edge_infer.platform.logs import printable

log = logging.getLogger(__name__)

CONDEMNED: Final = ".removed-"
"""Prefix of the names of folders that wait for their removal, directly in the tidied folder."""
MAX_STEPS: Final = 2_000
"""Maximum number of removals in one call."""
MAX_SECONDS: Final = 0.25
"""Maximum duration of a call in seconds, because the caller must remain responsive even with a slow card."""
MAX_NAMES: Final = 5
"""Maximum number of entries that a log line names; further ones are only counted."""
MAX_NAME: Final = 80
_NAMED: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def tidy_folder(
    folder: Path,
    names: Collection[str],
    *,
    level: int = logging.INFO,
    most: int = MAX_STEPS,
    seconds: float = MAX_SECONDS,
) -> bool:
    """Remove all entries except readable files with these ``names``; return whether another call would remove more.

    Pipes, links, folders and unreadable files with these names are removed first, because they would keep a process
    from creating its own file. A link in place of the folder is not followed. The log names a few of the removed
    entries, at this ``level``, and counts those that cannot be removed. One call tries at most ``most`` removals and
    starts none after ``seconds`` seconds.
    """
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            log.warning("cannot clean up %s: %s", folder, error.strerror)
        return False
    tidying = _Tidying(top, most, seconds)
    try:
        tidying.run(names)
    except OSError as error:
        log.warning("cannot clean up %s: %s", folder, error.strerror)
    finally:
        os.close(top)
    if tidying.gone:
        log.log(level, "%s: removed %s", folder, _counted(tidying.gone, tidying.names))
    if tidying.failed:
        log.warning("%s: cannot remove %s", folder, _counted(tidying.failed, [tidying.failure]))
    left = tidying.left and (tidying.progress or not tidying.failed)
    if left and tidying.gone:
        log.info("%s: more such entries remain; the daemon removes them later", folder)
    return left


def _counted(count: int, names: list[str]) -> str:
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return shortened(f"{count} {'entry' if count == 1 else 'entries'}: {', '.join(names)}{more}")


def _stays(name: str, mode: int, names: Collection[str]) -> bool:
    return name in names and stat.S_ISREG(mode) and mode & 0o600 == 0o600


class _Tidying:
    """One call of `tidy_folder`: it renames folders with content into the top folder, and then empties them.

    So paths stay short, and ``..`` is never used; it would lead elsewhere once another process has moved a folder.
    """

    def __init__(self, top: int, most: int, seconds: float) -> None:
        self.gone = self.failed = 0
        self.names: list[str] = []
        self.failure = ""
        self.left = self.progress = False
        self._top = top
        self._steps = most
        self._deadline = time.monotonic() + seconds
        self._condemned: dict[str, None] = {}  # a scan may also return the new names

    def run(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(OSError, ValueError):  # usually there is no such entry; the scan counts other errors
                mode = os.stat(name, dir_fd=self._top, follow_symlinks=False).st_mode
                if not _stays(name, mode, names):
                    self._take(name, folder=stat.S_ISDIR(mode))
        self._scan(names)
        while self._condemned:
            if self._spent():
                self.left = True
                return
            self._steps -= 1
            name = self._condemned.popitem()[0]
            with self._counting(name):
                self._empty(name)

    def _spent(self) -> bool:
        return self._steps <= 0 or time.monotonic() >= self._deadline

    def _scan(self, names: Collection[str]) -> None:
        with os.scandir(self._top) as entries:
            for entry in entries:
                if self._spent():
                    self.left = True
                    return
                with self._counting(entry.name):
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) and entry.name.startswith(CONDEMNED):
                        self._condemned[entry.name] = None
                    elif not _stays(entry.name, mode, names):
                        self._take(entry.name, folder=stat.S_ISDIR(mode))

    def _take(self, name: str, *, folder: bool) -> None:
        """Remove an entry of the top folder. A folder with content is renamed first."""
        self._remove(self._top, name, folder=folder)
        self.gone += 1
        if len(self.names) < MAX_NAMES:
            self.names.append(printable(name)[:MAX_NAME])

    def _empty(self, name: str) -> None:
        """Remove a condemned folder, and condemn those folders in it that have content.

        A condemned folder is one that was renamed for its removal.
        """
        failed = self.failed
        with self._opened(self._top, name) as folder, os.scandir(folder) as entries:
            for entry in entries:
                if self._spent():
                    self.left = True
                    return
                with self._counting(entry.name):
                    self._remove(folder, entry.name, folder=entry.is_dir(follow_symlinks=False))
        if self.failed == failed:
            os.rmdir(name, dir_fd=self._top)

    def _remove(self, parent: int, name: str, *, folder: bool) -> None:
        """Remove an entry of an open folder, or condemn it."""
        self._steps -= 1
        try:
            if folder:
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._condemn(parent, name)
        self.progress = True

    def _condemn(self, parent: int, name: str) -> None:
        fresh = f"{CONDEMNED}{secrets.token_hex(8)}"
        try:
            os.rename(name, fresh, src_dir_fd=parent, dst_dir_fd=self._top)
        except PermissionError:
            with self._opened(parent, name):  # a folder that its owner may not enter cannot get another parent
                os.rename(name, fresh, src_dir_fd=parent, dst_dir_fd=self._top)
        self._condemned[fresh] = None

    @contextmanager
    def _opened(self, parent: int, name: str) -> Iterator[int]:
        """Open a folder in an open folder, even if its owner may not enter it."""
        named = os.open(name, _NAMED, dir_fd=parent)
        try:
            if stat.S_IMODE(os.fstat(named).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(f"/proc/self/fd/{named}", stat.S_IRWXU)  # noqa: PTH101 - the open folder, not a name
            folder = os.open(".", _FOLDER, dir_fd=named)
        finally:
            os.close(named)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _counting(self, name: str) -> Iterator[None]:
        """Count an entry that cannot be removed, and continue; another process may have removed it."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            self.failed += 1
            self.failure = self.failure or f"{printable(name)[:MAX_NAME]} ({error.strerror})"
