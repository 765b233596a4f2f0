"""Files that are there as a whole, old or new, after a kill or a power cut at any moment."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.codec import dumps
from edge_infer.errors import StartError

UNFINISHED: Final = ".incoming-"
"""What the names of files begin with that are being written."""


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Puts ``data`` in the place of a file, on the disk when this returns; raises `OSError` and changes nothing."""
    with replacing(path, mode) as file:
        file.write(data)


def keep_record(path: Path, record: object) -> None:
    """The same with a record as JSON; raises `StartError` where that cannot be written."""
    try:
        write_durably(path, dumps(record))
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o640) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` at the end, durably, unless an exception comes before."""
    fresh = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            with contextlib.suppress(PermissionError):  # a locked process may change no mode: the umask decides as well
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names, too, have to survive a power cut; raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
