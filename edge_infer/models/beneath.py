"""Opening a file that others may have put there: a regular one, beneath a root, by no link.

Every part of the path is opened in the folder before it with ``O_NOFOLLOW``, so that nobody can put a link in its place
in between. ``openat2`` with ``RESOLVE_NO_SYMLINKS`` does the same from Linux 5.6 on; this works on older boards, too,
and can say which part is the link. A file is looked at before it is opened: to open a device can be an act.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_infer.errors import ModelError

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""What has become a named pipe or a link since it was looked at must neither block nor be followed."""


def open_beneath(path: Path, roots: Sequence[str]) -> int:
    """A descriptor of a regular file that no link leads to; raises `ModelError` saying which part is what, `OSError`.

    Links are followed up to the longest of the ``roots`` that the path begins with, else up to ``/``, and none below.
    """
    with _way(path, roots) as (folder, name):
        seen = _look(folder, name, path)
        check_regular(seen, path)
        handle = os.open(name, _READ, dir_fd=folder)
    found = os.fstat(handle)
    if (found.st_dev, found.st_ino) != (seen.st_dev, seen.st_ino):
        os.close(handle)
        raise ModelError(f"{path} was exchanged while it was opened; try again")
    return handle


def open_followed(path: Path) -> int:
    """A descriptor of a regular file, wherever links lead; raises `ModelError` for anything else, `OSError`."""
    check_regular(path.stat(), path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def look_beneath(path: Path, roots: Sequence[str]) -> os.stat_result:
    """What lies there, which is no link; like `open_beneath`."""
    with _way(path, roots) as (folder, name):
        return _look(folder, name, path)


def check_regular(found: os.stat_result, path: Path) -> None:
    """Raises `ModelError` for anything but a regular file."""
    if not stat.S_ISREG(found.st_mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise ModelError(f"{path} is {names.get(stat.S_IFMT(found.st_mode), 'a device')}, not a file")


@contextmanager
def _way(path: Path, roots: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The folder that the path's last part lies in, open, and that part."""
    root = max(
        (Path(root) for root in roots if path.is_relative_to(root)), key=lambda r: len(r.parts), default=Path("/")
    )
    parts = path.relative_to(root).parts
    if ".." in parts:
        raise ModelError(
            f"{path} goes up by ..; files beside {root} and above are named by their whole path, without .."
        )
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for position, part in enumerate(parts[:-1], start=1):
            place = root.joinpath(*parts[:position])
            if not stat.S_ISDIR(_look(folder, part, place).st_mode):
                raise ModelError(f"{place} is no folder, so there is no {path}")
            further = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = further
        yield folder, parts[-1] if parts else "."
    finally:
        os.close(folder)


def _look(folder: int, name: str, path: Path) -> os.stat_result:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise ModelError(_link(path))
    return found


def _link(path: Path) -> str:
    """What to say of a link: a daemon that followed it would run what somebody else puts there later."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop is a RuntimeError before Python 3.13
        return f"{path} is a link that leads nowhere; name the file itself"
    return f"{path} is a link, and links are not followed; name the place itself: {real}"
