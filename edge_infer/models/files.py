"""Files that are read whole and once, so that what is checked is what is used."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_infer.codec import JsonValue
from edge_infer.errors import ModelError, ModelKey

LARGEST_MODEL: Final = 1 << 30


def read_whole(path: Path, most: int, *, key: ModelKey = "file") -> bytes:
    """The bytes of a regular file; raises `ModelError` for anything else, and for more than ``most`` bytes."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe must not block the open
        try:
            return _read(handle, path, most, key)
        finally:
            os.close(handle)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", key=key) from error


def _read(handle: int, path: Path, most: int, key: ModelKey) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is {_kind(status.st_mode)}, not a file", key=key)
    if status.st_size > most:
        raise ModelError(f"{path} has {status.st_size} bytes; more than {most} are not read", key=key)
    with open(handle, "rb", closefd=False) as stream:
        data = stream.read(status.st_size + 1)
    if len(data) != status.st_size:
        raise ModelError(f"{path} has changed while it was read; try again when it is written", key=key)
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


def _kind(mode: int) -> str:
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")
