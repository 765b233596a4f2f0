"""Files that are read whole and once, so that what is checked is what is used."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.codec import JsonValue
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.beneath import open_beneath, open_followed

LARGEST_MODEL: Final = 512 << 20
"""Bytes; a board that could run more has other means."""
SETTLING: Final = 0.1
"""Seconds: no file system of a board counts the times of its files more coarsely."""


def read_whole(path: Path, most: int, *, key: ModelKey = "file", roots: Sequence[str] = ()) -> bytes:
    """The bytes of a regular file; raises `ModelError` for anything else, and for more than ``most`` bytes.

    With ``roots`` no link is followed beneath the root that the path lies in (see `open_beneath`), and a file that was
    written just now is given the time to show that somebody is still writing.
    """
    try:
        handle = open_beneath(path, roots) if roots else open_followed(path)
        try:
            if roots:
                _settle(handle)
            return _read(handle, path, most)
        finally:
            os.close(handle)
    except ModelError as error:
        raise ModelError(str(error), key=key) from error
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", key=key) from error


def _settle(handle: int) -> None:
    """Waits until the file is so old that one more writing would show in its times."""
    if 0 <= time.time() - os.fstat(handle).st_mtime < SETTLING:
        time.sleep(SETTLING)


def _read(handle: int, path: Path, most: int) -> bytes:
    before = os.fstat(handle)
    if before.st_size > most:
        raise ModelError(f"{path} has {before.st_size} bytes; more than {most} are not read")
    with open(handle, "rb", closefd=False) as stream:
        data = stream.read(before.st_size + 1)
    after = os.fstat(handle)
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ModelError(f"{path} has changed while it was read; try again when it is written")
    return data


def inside(folder: Path, name: str, *, key: ModelKey = "file") -> Path:
    """The path of ``name`` in a package's folder; raises `ModelError` when a link leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path} leads out of the folder of the manifest", key=key)
    return path


def file_options(options: Mapping[str, JsonValue]) -> dict[str, str]:
    """The parameters of a decoder that name files beside the manifest; raises `ModelError` for what is no name."""
    found = {key: value for key, value in options.items() if key.endswith("_file")}
    for key, value in found.items():
        if not isinstance(value, str) or not value:
            raise ModelError(f"the manifest's `decoder: {key}` is {value!r}; right is the name of a file beside it")
    return {key: str(value) for key, value in found.items()}


def largest_here() -> int:
    """Bytes that a model may have on this board: at most half of its memory, because it has to be read to be tried."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(LARGEST_MODEL, memory // 2)
