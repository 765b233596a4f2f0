"""Detection of users other than root who can change a file: they own a part of its path, or may write there."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from edge_infer.errors import ConfigError
from edge_infer.platform.config_files import FOLDER, parts_of
from edge_infer.sandbox.safe_path import MAX_LINKS


def foreign_part(path: Path) -> Path | None:
    """Return the first part of a path, links included, that does not belong to root; None if there is none."""
    try:
        return _changeable(path)
    except ConfigError:
        return None


def changer(path: Path) -> int | None:
    """Return the owner of the first part of a path that does not belong to root; None if there is none.

    Raises `ConfigError` if other users may change a folder of root on the path.
    """
    part = _changeable(path)
    return None if part is None else part.lstat().st_uid


def refuse_foreign(path: Path) -> None:
    """Raise `ConfigError` if root would write to a path of which another user can replace a part.

    That user could choose the file. Acting as that user on root's terminal is no solution: a program of that user could
    type there as root (``TIOCSTI``).
    """
    if os.geteuid() != 0 or (uid := changer(path)) is None:
        return
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"#{uid}"
    raise ConfigError(f"{path} belongs to the user {name}, not to root; edit it as that user, or give it to root")


def is_foreign(config: Path) -> bool:
    """Return whether users other than root can change a configuration or a file of its ``conf.d``, or create one."""
    try:
        place = config.parent / FOLDER
        if (
            _changeable(place / "a part that is not there") is not None
            or _is_shared(config.parent)
            or _is_shared(place)
        ):
            return True
        return any(_changeable(each) is not None or _is_shared(each) for each in (config, *parts_of(config)))
    except (ConfigError, OSError):
        return True


def shared_part(config: Path) -> tuple[Path, str] | None:
    """Return a file or folder of root's configuration that other users may change by its mode, and these users.

    Return None if there is none. A folder with the sticky bit, such as ``/tmp``, does not count.
    """
    with suppress(OSError):
        for part in (config, config.parent, config.parent / FOLDER, *parts_of(config)):
            if _is_shared(part) and not (found := part.stat()).st_mode & stat.S_ISVTX:
                return part, "every user" if found.st_mode & stat.S_IWOTH else f"group {_group_name(found.st_gid)}"
    return None


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def is_shared(config: Path) -> bool:
    """Return whether users who own no part of the path can change the file, because of its mode or that of a folder."""
    try:
        return _changeable(config) is None and _is_shared(config)
    except (ConfigError, OSError):
        return True


def may_name_folders(config: Path) -> bool:
    """Return whether users other than root may have chosen the paths in a configuration, such as a state directory."""
    return foreign_part(config) is not None or is_shared(config)


def _is_shared(file: Path) -> bool:
    return file.exists() and bool(file.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP))


def _changeable(path: Path) -> Path | None:
    waiting, links = [path.absolute()], 0
    while waiting:
        whole = waiting.pop()
        for part in (*reversed(whole.parents), whole):
            try:
                found = part.lstat()
            except FileNotFoundError:
                break
            if found.st_uid != 0:
                return part
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise ConfigError(f"{path}: too many links")
                waiting.append(part.parent / part.readlink() / whole.relative_to(part))
                break
            others = found.st_mode & (stat.S_IWOTH | stat.S_IWGRP)  # with an ACL, the group bits cover more users
            if stat.S_ISDIR(found.st_mode) and others and not found.st_mode & stat.S_ISVTX:
                raise ConfigError(
                    f"other users than root may change the folder {part}, so root does not edit below it; "
                    f"run: sudo chmod go-w {shlex.quote(str(part))}"
                )
    return None
