"""Opening a file that others may have put there: a regular one, beneath a root, by no link, or by none that leads out.

By no link: every part of the path is opened in the folder before it with ``O_NOFOLLOW``, so that nobody can put a link
in its place in between. ``openat2`` with ``RESOLVE_NO_SYMLINKS`` does the same from Linux 5.6 on; this works on older
boards, too, and can say which part is the link. By links that stay in a folder: only the kernel can follow those in one
step that cannot be raced. A file is looked at before it is opened: to open a device can be an act.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.errors import ModelError
from edge_infer.sandbox.kernel import openat2

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""What has become a named pipe or a link since it was looked at must neither block nor be followed."""
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08  # linux/openat2.h
_MAX_TRIES: Final = 100
"""The kernel gives up with EAGAIN when anything on the machine is renamed while it follows a ``..``."""


def open_beneath(path: Path, roots: Sequence[str]) -> int:
    """A descriptor of a regular file that no link leads to; raises `ModelError` saying which part is what, `OSError`.

    Links are followed up to the longest of the ``roots`` that the path begins with, else up to ``/``, and none below.
    """
    root = _root(path, roots)
    return _open_by_no_link(os.open(root, _FOLDER), root, path)


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A folder that is known again: whoever puts another one or a link in its place later is found out."""

    path: Path
    device: int
    inode: int

    @classmethod
    def at(cls, path: Path) -> KnownFolder:
        """The folder that this path leads to now; raises `OSError`."""
        found = path.stat()
        return cls(path, found.st_dev, found.st_ino)

    def open(self, path: Path) -> int:
        """A descriptor of a regular file in it; raises `ModelError` where a link leads out, `OSError`.

        Links may lead about within the folder where the kernel has ``openat2``; else there may be none.
        """
        if not path.is_relative_to(self.path):
            raise ModelError(f"{path} lies outside {self.path}")
        folder = os.open(self.path, _FOLDER)
        try:
            if not _is(folder, self.device, self.inode):
                raise ModelError(f"{self.path} was exchanged while it was read; try again")
            try:
                return _open_within(folder, str(path.relative_to(self.path)), path)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise
            return _open_by_no_link(os.dup(folder), self.path, path)
        finally:
            os.close(folder)


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
    root = _root(path, roots)
    with _way(os.open(root, _FOLDER), root, path) as (folder, name):
        return _look(folder, name, path)


def check_regular(found: os.stat_result, path: Path) -> None:
    """Raises `ModelError` for anything but a regular file."""
    if not stat.S_ISREG(found.st_mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise ModelError(f"{path} is {names.get(stat.S_IFMT(found.st_mode), 'a device')}, not a file")


def _root(path: Path, roots: Sequence[str]) -> Path:
    """The longest of the roots that the path begins with."""
    return max(
        (Path(root) for root in roots if path.is_relative_to(root)), key=lambda r: len(r.parts), default=Path("/")
    )


def _open_within(folder: int, name: str, path: Path) -> int:
    """A descriptor of a regular file that no link leads out of the folder to; raises `ModelError`, `OSError`."""
    look = _resolved(folder, name, os.O_PATH | os.O_CLOEXEC, path)
    try:
        seen = os.fstat(look)
    finally:
        os.close(look)
    check_regular(seen, path)
    return _unchanged(_resolved(folder, name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, path), seen, path)


def _resolved(folder: int, name: str, flags: int, path: Path) -> int:
    for _ in range(_MAX_TRIES):
        try:
            return openat2(folder, name, flags, _BENEATH | _NO_MAGICLINKS)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ModelError(f"{path} leads out of the folder of the manifest") from error
            raise
    raise ModelError(f"{path} cannot be opened while files are renamed all the time; try again")


def _open_by_no_link(folder: int, root: Path, path: Path) -> int:
    """`open_beneath` from the open folder of the ``root``, which is closed here."""
    with _way(folder, root, path) as (last, name):
        seen = _look(last, name, path)
        check_regular(seen, path)
        handle = os.open(name, _READ, dir_fd=last)
    return _unchanged(handle, seen, path)


def _unchanged(handle: int, seen: os.stat_result, path: Path) -> int:
    """The handle, when it is of the file that was looked at; raises `ModelError`."""
    if not _is(handle, seen.st_dev, seen.st_ino):
        os.close(handle)
        raise ModelError(f"{path} was exchanged while it was opened; try again")
    return handle


def _is(handle: int, device: int, inode: int) -> bool:
    found = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (device, inode)


@contextmanager
def _way(folder: int, root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """The folder that the path's last part lies in, open, and that part; ``folder`` is the ``root``, closed here."""
    try:
        parts = path.relative_to(root).parts
        if ".." in parts:
            raise ModelError(
                f"{path} goes up by ..; files beside {root} and above are named by their whole path, without .."
            )
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
