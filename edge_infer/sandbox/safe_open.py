"""Safe opening of files that other users may have replaced: regular files below a root, without or with limited links.

If links are refused, every part of the path is opened relative to its parent folder with ``O_NOFOLLOW``, so that no
other process can insert a link between two steps. From Linux 5.6 on, ``openat2`` with ``RESOLVE_NO_SYMLINKS`` does the
same. The code here also works with older kernels, and its error names the part that is a link.

If links must stay inside a folder, only the kernel can follow them in one step without a race.

Each file is examined before it is opened, because opening a device can have side effects.
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
"""Flags to open the file for reading.

Since it was examined, the file may have been replaced by a named pipe or a link. Opening it must neither block nor
follow the link.
"""
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08  # linux/openat2.h
_MAX_TRIES: Final = 100
"""Maximum number of attempts to open a file. The kernel returns EAGAIN if any file is renamed while it resolves a
``..``."""


def open_beneath(path: Path, roots: Sequence[str]) -> int:
    """Open a regular file without following links and return its descriptor.

    Links are followed up to the longest of the ``roots`` that is a prefix of the path (else up to ``/``), and none
    below. Raises `ModelError` that names the offending part of the path, and `OSError`.
    """
    root = _root(path, roots)
    return _open_by_no_link(os.open(root, _FOLDER), root, path)


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A folder identified by device and inode, so that a later replacement by another folder or a link is detected."""

    path: Path
    device: int
    inode: int

    @classmethod
    def at(cls, path: Path) -> KnownFolder:
        """Return the folder that this path leads to now; raises `OSError`."""
        found = path.stat()
        return cls(path, found.st_dev, found.st_ino)

    def open(self, path: Path) -> int:
        """Open a regular file in the folder, return its descriptor; raises `ModelError` if a link leads out, `OSError`.

        Links inside the folder are allowed if the kernel has ``openat2``; otherwise no link is allowed.
        """
        if not path.is_relative_to(self.path):
            raise ModelError(f"{path} lies outside {self.path}")
        folder = os.open(self.path, _FOLDER)
        try:
            if not _is(folder, self.device, self.inode):
                raise ModelError(f"{self.path} was replaced while it was read; try again")
            try:
                return _open_within(folder, str(path.relative_to(self.path)), path)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise
            return _open_by_no_link(os.dup(folder), self.path, path)
        finally:
            os.close(folder)


def open_followed(path: Path) -> int:
    """Open a regular file, following links anywhere; raises `ModelError` for any other kind of file, `OSError`."""
    check_regular(path.stat(), path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def look_beneath(path: Path, roots: Sequence[str]) -> os.stat_result:
    """Return the status of the file or folder at this path; no link below the root is followed (see `open_beneath`).

    Raises `ModelError` for a link below the root, a part that is not a folder, or a ``..``; raises `OSError`.
    """
    root = _root(path, roots)
    with _way(os.open(root, _FOLDER), root, path) as (folder, name):
        return _look(folder, name, path)


def check_regular(found: os.stat_result, path: Path) -> None:
    """Raise `ModelError` for anything but a regular file."""
    if not stat.S_ISREG(found.st_mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise ModelError(f"{path} is {names.get(stat.S_IFMT(found.st_mode), 'a device')}, not a file")


def _root(path: Path, roots: Sequence[str]) -> Path:
    """Return the longest of the roots that is a prefix of the path, or ``/``."""
    return max(
        (Path(root) for root in roots if path.is_relative_to(root)), key=lambda r: len(r.parts), default=Path("/")
    )


def _open_within(folder: int, name: str, path: Path) -> int:
    """Open a regular file, following links inside the folder only; raises `ModelError`, `OSError`."""
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
    raise ModelError(f"{path} cannot be opened, because its files are renamed all the time; try again")


def _open_by_no_link(folder: int, root: Path, path: Path) -> int:
    """Open the file as `open_beneath` does, starting at the open folder of the ``root``; closes that folder."""
    with _way(folder, root, path) as (last, name):
        seen = _look(last, name, path)
        check_regular(seen, path)
        handle = os.open(name, _READ, dir_fd=last)
    return _unchanged(handle, seen, path)


def _unchanged(handle: int, seen: os.stat_result, path: Path) -> int:
    """Return the handle if it refers to the file that was examined; raises `ModelError` otherwise."""
    if not _is(handle, seen.st_dev, seen.st_ino):
        os.close(handle)
        raise ModelError(f"{path} was replaced while it was opened; try again")
    return handle


def _is(handle: int, device: int, inode: int) -> bool:
    found = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (device, inode)


@contextmanager
def _way(folder: int, root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the open parent folder of the path and the path's last part; close ``folder``, which is the ``root``."""
    try:
        parts = path.relative_to(root).parts
        if ".." in parts:
            raise ModelError(
                f"{path} contains ..; name files beside {root} and above by their absolute path, without .."
            )
        for position, part in enumerate(parts[:-1], start=1):
            place = root.joinpath(*parts[:position])
            if not stat.S_ISDIR(_look(folder, part, place).st_mode):
                raise ModelError(f"{place} is not a folder, so {path} does not exist")
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
    """Return the error text for a link: the daemon would use a file that another user can replace."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # before Python 3.13 a circle raises RuntimeError
        return f"{path} is a broken link; name the file itself"
    return f"{path} is a link, and links are not followed; name the place itself: {real}"
