"""The files of a configuration: the main file, and ``conf.d/*.yaml`` beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from edge_infer.platform.paths import Look, content, look

FOLDER: Final = "conf.d"
MAX_PARTS: Final = 256
MAX_BYTES: Final = 16 << 20


def parts_of(config: Path) -> tuple[Path, ...]:
    """Return the files of ``conf.d``, by name; hidden files and backups (``x.yaml~``) are none of them.

    Raises `OSError` if the folder is there and cannot be listed.
    """
    folder = config.parent / FOLDER
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if each.name.endswith(".yaml") and each.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(folder / name for name in names)


def look_at(config: Path) -> Look:
    """Return the metadata of all files of a configuration; empty if the main file is missing."""
    found = look(config)
    try:
        parts = parts_of(config)[:MAX_PARTS] if found else ()
    except (OSError, ValueError):
        return found
    for part in parts:
        found += look(part)
    return found


def digest_of(main: str, parts: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a configuration: that of the main file, or of it and the names and digests of the parts."""
    lines = [f"{digest} {name}\n" for name, digest in parts]
    text = "".join([f"{main}\n", *lines])
    return hashlib.sha256(os.fsencode(text)).hexdigest() if lines else main


def texts_of(config: Path) -> dict[Path, bytes]:
    """Return the bytes of each file, the main one first; raises `OSError`."""
    return {path: content(path, MAX_BYTES) for path in (config, *parts_of(config))}


def digest_of_texts(texts: Mapping[Path, bytes]) -> str:
    """Return the digest of a configuration that `texts_of` has read."""
    main, *parts = ((path.name, hashlib.sha256(text).hexdigest()) for path, text in texts.items())
    return digest_of(main[1], parts)
