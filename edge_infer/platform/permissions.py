"""Messages about files that this user cannot read, with the command that permits reading; the same rule for all files.

The daemon reads what its group may read: ``chgrp GROUP FILE && chmod 640 FILE``.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from edge_infer.platform.state_owner import chown_command, service_state

_NOT_OURS: Final = {
    Path(f"/{name}") for name in ("boot", "dev", "home", "proc", "root", "run", "sys", "usr", "var/lib")
}
"""Folders of users, of the system and of other services: a changed group or mode would close them for others."""
_SHARED_TOPS: Final = {Path("/"), Path("/var")}
"""Folders with subfolders that many services use, such as ``/srv`` and ``/var/log``."""
CREDENTIALS: Final = Path("/run/credentials")
"""Folder of systemd with the credentials of services that run. A unit without credentials may not enter it."""
_PRIVATE: Final = Path("/var/lib/private")
"""Folder of systemd that contains the state of services with a dynamic user."""
_SYSTEM: Final = {Path("/etc"), Path("/opt"), Path("/usr"), Path("/var/lib")}
"""Folders with files that belong to the system and its services."""
_SERVICE_FOLDER: Final = Path("/etc/edge-infer")
_SERVICE_GROUP: Final = "edge-infer"
_PERSONS: Final = range(1000, 60_000)
"""The numbers of people's accounts; those of services and of dynamic users are outside (systemd's UIDS-GIDS)."""


def look_up_names() -> None:
    """Look up all names that messages of this module contain; a process calls this before it enters its sandbox.

    A look-up tries the socket of a name service. A sandbox refuses sockets, and the kernel logs that.
    """
    _user(os.geteuid())
    _group(os.getegid())
    if os.geteuid() in _PERSONS:
        _service_gid()


def user() -> str:
    """Return the user that this process runs as."""
    return f"user {_user(os.geteuid()) or os.geteuid()}"


@cache
def _user(number: int) -> str:
    """Return the name of a user; empty if there is none."""
    with suppress(KeyError, OSError):
        return pwd.getpwuid(number).pw_name
    return ""


def closed_folder(path: str | Path) -> Path | None:
    """Return the folder on the way to a file that this user may not enter; None if there is none."""
    folders = reversed(Path(path).parents)
    closed = next((folder for folder in folders if not os.access(folder, os.X_OK, effective_ids=True)), None)
    return closed if closed is not None and os.path.isdir(closed) else None  # noqa: PTH112 - access(2) fails if missing


def for_the_group(shown: str, mode: int = 0o640, path: str | Path | None = None) -> str:
    """Return the command that lets this process's group read a file, and no other users.

    ``path`` is the path of the file. If a person runs this for a file of the service, the command names the service's
    group.
    """
    theirs = path is not None and os.geteuid() in _PERSONS and _is_below(Path(path), {_SERVICE_FOLDER})
    group = _SERVICE_GROUP if theirs else _group(os.getegid())
    place = shlex.quote(shown)
    return f"chgrp {shlex.quote(group)} {place} && chmod {mode:o} {place}"


@cache
def _group(number: int) -> str:
    with suppress(KeyError, OSError):
        return grp.getgrgid(number).gr_name
    return str(number)


@cache
def _service_gid() -> int | None:
    with suppress(KeyError, OSError):
        return grp.getgrnam(_SERVICE_GROUP).gr_gid
    return None


def denied(path: str | Path, shown: str = "FILE") -> str:
    """Return the reason why a file cannot be opened, as the end of a sentence.

    ``shown`` replaces a secret path in the command.
    """
    real = os.path.realpath(path)
    closed = closed_folder(real) or closed_folder(path)
    if closed == _PRIVATE or (closed is not None and _is_below(closed, {CREDENTIALS}) and not in_service()):
        return f"cannot be read by {user()}: it is private to the service; run this as root, with sudo"
    who = "" if closed is None else f", who may not enter {_where(closed, path, shown)}"
    return f"cannot be read by {user()}{who}; {_remedy(real, path, shown, closed)}"


def _where(closed: Path, path: str | Path, shown: str) -> str:
    return f"the folder {closed}" if shown == str(path) else "a folder of its path"


def _remedy(real: str, path: str | Path, shown: str, closed: Path | None) -> str:
    place = closed or Path(path)
    if (state_dir := service_state(real)) is not None:
        if closed == state_dir and in_service():
            return "restart the service, to which systemd then gives it: sudo systemctl restart edge-infer"
        if closed is not None and closed in state_dir.parents:
            return f"let all users enter: sudo chmod a+x {shlex.quote(str(closed))}"
        given = closed if closed is not None and shown == str(path) else shown
        return f"give it to the service: {chown_command(state_dir, given)}"
    if os.geteuid() in _PERSONS and _is_below(place, _SYSTEM) and _group_of(place) != os.getegid():
        return _with_sudo(place)
    if _is_below(place, {Path("/etc")}) and not _is_below(place, {_SERVICE_FOLDER}):
        kind = "file" if closed is None else "folder"
        return f"it is a system {kind}: keep a copy of {'it' if closed is None else 'the file'} in {_SERVICE_FOLDER}"
    folder = closed if closed is not None else Path(real) if Path(path).is_dir() else None
    if (closed is not None and shown != str(path)) or (folder is not None and _is_of_others(folder)):
        return f"keep it elsewhere, such as in {_SERVICE_FOLDER}"
    if closed is not None:
        return f"let its group enter: {for_the_group(str(closed), 0o750)}"
    return f"let its group read it: {for_the_group(shown, 0o640 if folder is None else 0o750)}"


def _is_of_others(folder: Path) -> bool:
    """Return whether no message may advise to change the group or the mode of a folder."""
    return _is_below(folder, _NOT_OURS) or folder.parent in _SHARED_TOPS


def in_service() -> bool:
    """Return whether systemd started this process, or a parent of it, with the state directory of a service."""
    return bool(os.environ.get("STATE_DIRECTORY")) and "INVOCATION_ID" in os.environ


def _with_sudo(place: Path) -> str:
    """Return the remedy for a person: changing the group of a system folder would lock out the service that has it."""
    return f"run it with sudo{or_join_the_group(place)}"


def or_join_the_group(place: Path) -> str:
    """Return the other remedy for a file of the service's group, as the end of a sentence; empty for other files."""
    gid, name = _group_of(place), _user(os.geteuid())
    if gid is None or gid != _service_gid() or not name:
        return ""
    join = f"sudo usermod -aG {_SERVICE_GROUP} {shlex.quote(name)}"
    return f", or join the group that may: {join}, then log in again"


def _group_of(place: Path) -> int | None:
    with suppress(OSError):
        return place.stat().st_gid
    return None


def _is_below(place: Path, folders: set[Path]) -> bool:
    """Return whether the path is one of these folders or below one."""
    return bool(folders & {place, *place.parents})


def is_of_service(path: str | Path) -> bool:
    """Return whether a path, or its nearest folder that this user can examine, belongs to root or to a service."""
    for each in (Path(path), *Path(path).parents):
        with suppress(OSError):
            return each.stat().st_uid not in _PERSONS
    return False


def why_unreadable(path: Path, error: Exception) -> str:
    """Return the reason why a file cannot be read, as the end of a sentence."""
    if isinstance(error, PermissionError):
        return denied(path.absolute(), str(path.absolute()))
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
