"""Reading of files as a whole and only once, so that the bytes that were checked are the bytes in use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import JsonValue
from edge_infer.errors import ModelError, ModelKey
from edge_infer.plan.files import FILE_OPTION
from edge_infer.platform import memfd
from edge_infer.platform.permissions import why_unreadable
from edge_infer.sandbox.safe_open import KnownFolder, open_beneath, open_followed

LARGEST_MODEL: Final = 512 << 20
"""Maximum size of a model in bytes."""
SETTLING: Final = 0.1
"""Seconds to wait after a recent write. The timestamps of all file systems used on boards are finer than this."""


def read_whole(
    path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = (), folder: KnownFolder | None = None
) -> bytes:
    """Return the bytes of a regular file; raises `ModelError` for anything else, and for more than ``most`` bytes.

    With ``roots``, no link is followed below the root that contains the path (see `open_beneath`). If the file has just
    been written, there is a short wait first, so that another write would change its timestamp. Without ``roots`` but
    with a ``folder``, no link out of the folder is followed.
    """
    return read_with_status(path, most, key=key, roots=roots, folder=folder)[0]


def read_with_status(
    path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = (), folder: KnownFolder | None = None
) -> tuple[bytes, os.stat_result]:
    """Return the bytes and the status of the file that was read; same rules as `read_whole`."""
    opened = _steady(path, most, key, roots, folder)
    with opened as (handle, size), open(handle, "rb", closefd=False) as stream:
        return stream.read(size), os.fstat(handle)


def copy_whole(
    path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = (), folder: KnownFolder | None = None
) -> tuple[int, str]:
    """Return an open, sealed in-memory copy of a file and its SHA-256; same rules as `read_whole`."""
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
    """Yield the open file and its size; raises `ModelError` at the end if the file has changed in the meantime."""
    try:
        handle = _opened(path, roots, folder)
        try:
            if roots:
                _settle(handle)
            before = os.fstat(handle)
            if before.st_size > most:
                raise ModelError(f"{path} has {before.st_size} bytes; the limit is {most}")
            yield handle, before.st_size
            after = os.fstat(handle)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise ModelError(f"{path} changed during the read; try again when it is complete")
        finally:
            os.close(handle)
    except ModelError as error:
        raise ModelError(str(error), key=key) from error
    except (OSError, ValueError) as error:  # a NUL in a path raises ValueError
        raise ModelError(f"{path} {why_unreadable(path, error)}", key=key) from error


def _opened(path: Path, roots: Sequence[str], folder: KnownFolder | None) -> int:
    if roots:
        return open_beneath(path, roots)
    return open_followed(path) if folder is None else folder.open(path)


def _settle(handle: int) -> None:
    """Wait until the file is old enough that another write would change its timestamp."""
    if 0 <= time.time() - os.fstat(handle).st_mtime < SETTLING:
        time.sleep(SETTLING)


def inside(folder: Path, name: str) -> Path:
    """Return the path of ``name`` in a package's folder; raises `ModelError` for a name that leads out of it.

    Links are checked only when the file is opened (`KnownFolder`), because an earlier check could become outdated.
    """
    path = folder / name
    if ".." in Path(name).parts or not path.is_relative_to(folder):
        raise ModelError(f"{path} leads out of the folder of the manifest")
    return path


def file_options(options: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the decoder parameters that name files beside the manifest; raises `ModelError` for an invalid name."""
    found = {key: value for key, value in options.items() if key.endswith(FILE_OPTION)}
    for key, value in found.items():
        if not isinstance(value, str) or not value:
            raise ModelError(f"the manifest's `decoder: {key}` is {value!r}; expected the name of a file beside it")
    return {key: str(value) for key, value in found.items()}


def largest_here() -> int:
    """Return the maximum model size in bytes: at most half of the memory, because a trial reads the whole model."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(LARGEST_MODEL, memory // 2)
