"""Messages about files that this user cannot read, with the command that permits it; the same rule for all files.

The daemon reads what its group may read: ``chgrp GROUP FILE && chmod 640 FILE``.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_HOMES: Final = {Path("/home"), Path("/root"), Path("/run/user")}
"""Folders that no service should get access to."""
_PRIVATE: Final = Path("/var/lib/private")
"""Folder of systemd that contains the state of services with a dynamic user."""


def user() -> str:
    """Return the user that this process runs as."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    return f"user {os.geteuid()}"


def closed_folder(path: str | Path) -> Path | None:
    """Return the folder on the way to a file that this user may not enter; None if there is none."""
    folders = reversed(Path(path).parents)
    return next((folder for folder in folders if not os.access(folder, os.X_OK, effective_ids=True)), None)


def for_the_group(shown: str, mode: int = 0o640) -> str:
    """Return the command that lets this process's group read a file, and no other users."""
    return f"chgrp {_group(os.getegid())} {shown} && chmod {mode:o} {shown}"


@cache
def _group(number: int) -> str:
    with suppress(KeyError, OSError):
        return grp.getgrgid(number).gr_name
    return str(number)


_group(os.getegid())  # a process in its sandbox may be unable to read the names of groups


def denied(path: str | Path, shown: str = "FILE") -> str:
    """Return why a file cannot be opened, as the end of a sentence.

    ``shown`` replaces a secret path in the command.
    """
    closed = closed_folder(os.path.realpath(path)) or closed_folder(path)
    if closed == _PRIVATE:
        return f"cannot be read by {user()}: it is private to the service; run this as root, with sudo"
    if closed is not None:
        where = f"the folder {closed}" if shown == str(path) else "a folder of its path"
        remedy = "keep it elsewhere, such as in /etc/edge-infer"
        if shown == str(path) and not _HOMES & {closed, *closed.parents}:
            remedy = f"let its group enter: {for_the_group(str(closed), 0o750)}"
        return f"cannot be read by {user()}, who may not enter {where}; {remedy}"
    if Path("/etc") in Path(path).parents and Path("/etc/edge-infer") not in Path(path).parents:
        return f"cannot be read by {user()}; it is a system file: keep a copy of it in /etc/edge-infer"
    mode = 0o750 if Path(path).is_dir() else 0o640
    return f"cannot be read by {user()}; let its group read it: {for_the_group(shown, mode)}"


def why_unreadable(path: Path, error: Exception) -> str:
    """Return why a file cannot be read, as the end of a sentence."""
    if isinstance(error, PermissionError):
        return denied(path.absolute(), str(path.absolute()))
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
