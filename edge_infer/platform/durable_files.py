"""Write files atomically: after a kill or power cut at any moment, the file is whole, either old or new."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.contract.codec import dumps
from edge_infer.errors import StartError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
UNFINISHED: Final = ".incoming-"
"""Prefix of the names of files that are still being written."""


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Replace a file by ``data``, on the disk when this returns; raises `OSError` and then changes nothing."""
    with replacing(path, mode) as file:
        file.write(data)


def keep_record(path: Path, record: object) -> None:
    """Write a record durably as JSON; raises `StartError` if it cannot be written."""
    try:
        path.parent.mkdir(mode=0o750, exist_ok=True)
        write_durably(path, dumps(record))
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o640) -> Iterator[BinaryIO]:
    """Yield a file that durably replaces ``path`` at the end, unless an exception comes before."""
    fresh = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            with contextlib.suppress(PermissionError):  # the sandbox forbids chmod; the umask then also applies
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_irregular(folder: Path) -> list[str]:
    """Remove what cannot be a file of this program, and return the names; raises `OSError`.

    An earlier process with another program's code may have left named pipes, links, folders or closed files.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o600 == 0o600:
                continue
            if stat.S_ISDIR(mode):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108 - any name
            found.append(entry.name)
    return found


def remove_tree(folder: str | Path) -> None:
    """Remove a folder, however deep it is; raises `OSError`. Only one folder is open at a time, and no path grows."""
    names: list[str] = []
    here = os.open(folder, _FOLDER)
    try:
        while True:
            if (below := _emptied(here)) is not None:
                next_one = os.open(below, _FOLDER, dir_fd=here)
                names.append(below)
            elif names:
                next_one = os.open("..", _FOLDER, dir_fd=here)
                os.rmdir(names.pop(), dir_fd=next_one)
            else:
                break
            os.close(here)
            here = next_one
    finally:
        os.close(here)
    os.rmdir(folder)  # noqa: PTH106 - any name


def _emptied(folder: int) -> str | None:
    """Remove the files in an open folder; return the name of a folder in it."""
    below = None
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below = entry.name
            else:
                os.unlink(entry.name, dir_fd=folder)
    return below


def sync_folder(folder: Path) -> None:
    """Sync a folder, because file names have to survive a power cut too; raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
