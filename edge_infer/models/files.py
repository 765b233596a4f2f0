"""Files that are read whole and once, so that what is checked is what is used."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_infer import memfd
from edge_infer.codec import JsonValue
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.beneath import KnownFolder, open_beneath, open_followed
from edge_infer.models.plan_files import FILE_OPTION

LARGEST_MODEL: Final = 512 << 20
"""Bytes; a board that could run more has other means."""
SETTLING: Final = 0.1
"""Seconds: no file system of a board counts the times of its files more coarsely."""


def read_whole(
    path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = (), folder: KnownFolder | None = None
) -> bytes:
    """The bytes of a regular file; raises `ModelError` for anything else, and for more than ``most`` bytes.

    With ``roots`` no link is followed beneath the root that the path lies in (see `open_beneath`), and a file that was
    written just now is given the time to show that somebody is still writing. Else, with a ``folder``, no link that
    leads out of it is.
    """
    opened = _steady(path, most, key, roots, folder)
    with opened as (handle, size), open(handle, "rb", closefd=False) as stream:
        return stream.read(size)


def copy_whole(
    path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = (), folder: KnownFolder | None = None
) -> tuple[int, str]:
    """A sealed copy of such a file in memory, open, and the SHA-256 of its bytes; like `read_whole`."""
    file = -1
    try:
        with _steady(path, most, key, roots, folder) as (handle, size):
            file, sha256 = memfd.copied(handle, path.name[:200], size)
    except BaseException:
        if file >= 0:
            os.close(file)
        raise
    return file, sha256


@contextmanager
def _steady(
    path: Path, most: int, key: ModelKey, roots: Sequence[str], folder: KnownFolder | None
) -> Iterator[tuple[int, int]]:
    """The file, open, and its size; raises `ModelError` at the end if it has changed meanwhile."""
    try:
        handle = _opened(path, roots, folder)
        try:
            if roots:
                _settle(handle)
            before = os.fstat(handle)
            if before.st_size > most:
                raise ModelError(f"{path} has {before.st_size} bytes; more than {most} are not read")
            yield handle, before.st_size
            after = os.fstat(handle)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise ModelError(f"{path} has changed while it was read; try again when it is written")
        finally:
            os.close(handle)
    except ModelError as error:
        raise ModelError(str(error), key=key) from error
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", key=key) from error


def _opened(path: Path, roots: Sequence[str], folder: KnownFolder | None) -> int:
    if roots:
        return open_beneath(path, roots)
    return open_followed(path) if folder is None else folder.open(path)


def _settle(handle: int) -> None:
    """Waits until the file is so old that one more writing would show in its times."""
    if 0 <= time.time() - os.fstat(handle).st_mtime < SETTLING:
        time.sleep(SETTLING)


def inside(folder: Path, name: str) -> Path:
    """The path of ``name`` in a package's folder; raises `ModelError` for a name that leads out of it.

    Where links lead is seen when the file is opened (`KnownFolder`): whatever is found out before can be changed.
    """
    path = folder / name
    if ".." in Path(name).parts or not path.is_relative_to(folder):
        raise ModelError(f"{path} leads out of the folder of the manifest")
    return path


def file_options(options: Mapping[str, JsonValue]) -> dict[str, str]:
    """The parameters of a decoder that name files beside the manifest; raises `ModelError` for what is no name."""
    found = {key: value for key, value in options.items() if key.endswith(FILE_OPTION)}
    for key, value in found.items():
        if not isinstance(value, str) or not value:
            raise ModelError(f"the manifest's `decoder: {key}` is {value!r}; right is the name of a file beside it")
    return {key: str(value) for key, value in found.items()}


def largest_here() -> int:
    """Bytes that a model may have on this board: at most half of its memory, because it has to be read to be tried."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(LARGEST_MODEL, memory // 2)
