"""Safe path resolution: a descriptor of a path's target, without following links that other users control.

Each part is opened relative to the folder before it, and a link is read from its own descriptor. So nothing can be
replaced between check and use. If a command of root followed any link, it would read a file that the owner of the link
has chosen.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS: Final = 40
"""Maximum number of links that a path may lead through, as in the kernel."""


class ForeignLinkError(StartError):
    """A link on the path belongs to another user, or another user could replace it."""

    def __init__(self, path: str, link: str, leads: str) -> None:
        super().__init__(
            f"{path} contains the link {link!r} to {leads!r}, whose target another user can choose; such links "
            "are not followed: name the target itself"
        )


def follow(path: str, owners: Collection[int], *, to_own: bool = False) -> int:
    """Return an ``O_PATH`` descriptor of the target of an absolute path; raises `ForeignLinkError`, `OSError`.

    A link is followed if one of the ``owners`` owns it and no other user could replace it. With ``to_own``, a link is
    also followed if it leads to a file of the link's owner, which gives that user no new access. A folder is
    excluded, because it may contain files of others.
    """
    processes = _device_of_processes()
    place = os.open("/", _LOOK)
    waiting = _parts(path)
    doubtful: list[tuple[ForeignLinkError, int]] = []
    followed = 0
    try:
        while waiting:
            part = waiting.pop()
            found = os.open(part, _LOOK, dir_fd=place)
            status = os.fstat(found)
            if not stat.S_ISLNK(status.st_mode):
                os.close(place)
                place = found
                continue
            try:
                followed = _counted(followed, path)
                leads = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            if status.st_dev == processes:  # a link of the kernel, for example behind /dev/stdin: some lead to no path
                place = _exchanged(place, os.open(part, os.O_PATH | os.O_CLOEXEC, dir_fd=place))
                continue
            if not _is_settled(status, os.fstat(place), owners):
                doubtful.append((ForeignLinkError(path, part, leads), status.st_uid))
                if not to_own:  # this is an error for any target, even a missing one
                    break
            if leads.startswith("/"):
                place = _exchanged(place, os.open("/", _LOOK))
            waiting += _parts(leads)
        _check(doubtful, os.fstat(place), to_own=to_own)
    except BaseException:
        os.close(place)
        raise
    return place


def real_place(path: Path, owners: Collection[int]) -> Path:
    """Return the path without links; its end need not exist yet. Raises `ForeignLinkError`, `OSError`."""
    path = path.absolute()
    for above in (path, *path.parents):
        try:
            file = follow(str(above), owners)
        except FileNotFoundError:
            continue
        try:
            real = Path(f"/proc/self/fd/{file}").readlink()
        finally:
            os.close(file)
        return Path(os.path.normpath(real / path.relative_to(above)))
    return path


def _check(doubtful: Iterable[tuple[ForeignLinkError, int]], end: os.stat_result, *, to_own: bool) -> None:
    """Raise the first error unless its link leads to a file (not a folder) of the link's owner."""
    for error, uid in doubtful:
        if not to_own or uid != end.st_uid or stat.S_ISDIR(end.st_mode):
            raise error


def _counted(followed: int, path: str) -> int:
    if followed == MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return followed + 1


def _parts(path: str) -> list[str]:
    """Return the parts of a path in reverse order."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _exchanged(old: int, new: int) -> int:
    os.close(old)
    return new


def _is_settled(link: os.stat_result, folder: os.stat_result, owners: Collection[int]) -> bool:
    """Return whether only ``owners`` can choose the link's target. The owner of a folder can replace its content."""
    if not {link.st_uid, folder.st_uid} <= set(owners):
        return False
    # Groups do not count: users share groups with users that they trust, but no group is trusted with links of root.
    shared = stat.S_IWOTH | (stat.S_IWGRP if set(owners) == {0} else 0)
    return not folder.st_mode & shared or bool(folder.st_mode & stat.S_ISVTX)


def _device_of_processes() -> int | None:
    try:
        return os.stat("/proc").st_dev  # noqa: PTH116
    except FileNotFoundError:
        return None
