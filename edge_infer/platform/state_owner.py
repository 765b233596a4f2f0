"""The owner of a state directory: which parts of it belong to another user, such as a copy that root put back."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

MAX_ENTRIES: Final = 5_000
"""Maximum number of entries that are checked. In a copied state, one of the first entries already belongs to another
user."""
_BLOBS: Final = "blobs"
_ESSENTIAL: Final = ("lock", _BLOBS)
"""Parts without which no daemon starts. A daemon replaces other parts, or works without them."""
_MODELS: Final = "models"
_PUBLISHER: Final = "publisher"
_LOST_FOUND: Final = "lost+found"
"""Folder of root at the top of each ext4 file system, in which ``fsck`` puts recovered files."""


@dataclass(frozen=True, slots=True)
class ForeignEntry:
    """A part of a state directory that its owner may not use, because it belongs to another user."""

    path: Path
    state_dir: Path
    fatal: bool

    def __str__(self) -> str:
        """Return the fault, its consequence and the remedy."""
        effect = "so no daemon can start with this state" if self.fatal else "so the daemon works without it"
        return (
            f"{self.path} belongs to another user than its state directory {self.state_dir}, {effect}; give the "
            f"directory's owner everything in it: {chown_command(self.state_dir, self.state_dir)}"
        )


def chown_command(state_dir: Path, place: str | Path) -> str:
    """Return the command that gives a file or folder of the state to the owner of the state directory.

    The command refers to the state directory and names no user or group, because systemd may map the owner to
    ``nobody`` on the disk. If the command named the group of the service, the file would still belong to another user.
    """
    return f"sudo chown -R --reference={shlex.quote(str(state_dir))} {shlex.quote(str(place))}"


def service_state(path: str | Path) -> Path | None:
    """Return the state directory that systemd gave to this service if the path lies below it; otherwise None."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if not given:
        return None
    state_dir = Path(os.path.realpath(given))
    return state_dir if state_dir in Path(os.path.realpath(path)).parents else None


def mount_advice(state_dir: str | Path) -> str:
    """Return advice to mount this state directory in the one that systemd gave to this service; empty if not needed.

    It is not needed if systemd did not start this process, or if the state directory is already below the one of
    systemd.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    by_systemd = given and "INVOCATION_ID" in os.environ  # a start by root also sets STATE_DIRECTORY
    if not by_systemd or service_state(Path(state_dir, "any")) is not None:
        return ""
    return f"systemd lets this service write only to {given}: name that one, and mount {state_dir} there (mount --bind)"


def foreign_entry(state_dir: str | Path, part: str = "") -> ForeignEntry | None:
    """Return an entry of a state directory that its owner may not use, if possible a fatal one; None if there is none.

    With ``part``, check only that entry of the directory and everything below it. The check is about the rights of the
    owner, not of this process, because root may read everything. It skips entries that this user cannot examine. The
    result is None if this process runs neither as root nor as the owner, because a daemon may use the directory through
    its group.
    """
    top = Path(os.path.realpath(state_dir))
    found: ForeignEntry | None = None
    try:
        owner = top.stat()
    except OSError:
        return None
    if os.geteuid() not in (0, owner.st_uid):
        return None
    for path in _entries(top):
        parts = path.relative_to(top).parts
        if part not in ("", parts[0]):
            continue
        fatal = len(parts) == 1 and parts[0] in _ESSENTIAL
        with suppress(OSError):  # removed in the meantime
            if (found is None or fatal) and _is_closed(path, parts, owner):
                found = ForeignEntry(path, top, fatal)
        if found is not None and found.fatal:
            break
    return found


def _entries(top: Path) -> Iterator[Path]:
    """Yield entries, those of upper folders first. The content of folders that this user may not read is left out."""
    folders, left = [top], MAX_ENTRIES
    while folders and left > 0:
        try:
            with os.scandir(folders.pop(0)) as found:  # a compromised process may have made a million entries
                entries = sorted(islice(found, left), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.path == str(top / _LOST_FOUND) and _is_folder_of_root(entry):
                continue
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
        left -= len(entries)


def _is_folder_of_root(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # removed in the meantime
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == 0
    return False


def _is_closed(path: Path, parts: tuple[str, ...], owner: os.stat_result) -> bool:
    """Return whether an entry belongs to another user, and its mode does not give the ``owner`` of the state access.

    ``parts`` are the components of the entry's path below the state directory.

    Most files are replaced and never written, and packages of ``models`` are only read, so root may own them.
    """
    found = path.lstat()
    is_folder = stat.S_ISDIR(found.st_mode)
    if found.st_uid == owner.st_uid or not (is_folder or stat.S_ISREG(found.st_mode)):
        return False
    if parts[0] == _MODELS or parts == (_BLOBS,):  # if no new copies can be written, the previous models still run
        needed = 0o5 if is_folder else 0o4
    elif is_folder:
        needed = 0o7
    else:
        needed = 0o6 if parts[0] in (_PUBLISHER, "lock") else 0o4
    shift = 3 if found.st_gid == owner.st_gid else 0
    return found.st_mode >> shift & needed != needed
