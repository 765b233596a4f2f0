"""Writes files atomically: after a kill or power cut at any moment, the file is complete, either old or new."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.contract.codec import dumps, without_defaults
from edge_infer.errors import StartError

UNFINISHED: Final = ".incoming-"
"""Prefix of the names of files that are still being written."""
_DISK_REMEDIES: Final = {
    errno.EROFS: "remount its disk with the right to write",
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space on its disk",
}


def with_disk_remedy(error: OSError) -> str:
    """Return the error of a disk as text, with the remedy."""
    return f"{error.strerror or error}; {_DISK_REMEDIES.get(error.errno or 0, 'check its disk')}"


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Replace a file by ``data``, which is on the disk when this returns.

    If it raises `OSError`, nothing has changed.
    """
    with replacing(path, mode) as file:
        file.write(data)


def keep_record(path: Path, record: object) -> None:
    """Write a record durably as JSON; raises `StartError` if it cannot be written.

    Defaults are left out, so that an older version can read the record after a rollback of the program.
    """
    try:
        path.parent.mkdir(mode=0o750, exist_ok=True)
        write_durably(path, dumps(without_defaults(record)))
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o640) -> Iterator[BinaryIO]:
    """Yield a file that durably replaces ``path`` at the end, unless an exception occurs before."""
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


def sync_folder(folder: Path) -> None:
    """Sync a folder, because file names must also survive a power cut; raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
