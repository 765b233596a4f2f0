"""The files of a configuration: the main file, and ``conf.d/*.yaml`` beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from edge_infer.errors import ConfigError
from edge_infer.platform.environment import names_unknown, take, with_taken
from edge_infer.platform.paths import Look, content, look

FOLDER: Final = "conf.d"
MAX_PARTS: Final = 256
MAX_ENTRIES: Final = 4096
"""Maximum number of entries in ``conf.d``, including hidden files and backups."""
MAX_BYTES: Final = 4 << 20
"""Maximum bytes of all files together."""
_VARIABLE: Final = re.compile(rb"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
TOO_LARGE: Final = f"the files of the configuration are larger than {MAX_BYTES >> 20} MiB together"


def part_file(config: Path, part: str | None) -> Path:
    """Return ``conf.d/PART.yaml`` beside the configuration, or the configuration itself; raises `ConfigError`."""
    if part is None:
        return config
    name = part.removesuffix(".yaml")
    if "/" in name or name.startswith(".") or not name.isprintable() or not name:
        raise ConfigError(f"{part!r} is not the name of a file in {FOLDER}, such as yard")
    return config.parent / FOLDER / f"{name}.yaml"


def parts_of(config: Path) -> tuple[Path, ...]:
    """Return the files of ``conf.d``, by name; hidden files and backups (``x.yaml~``) do not count.

    Raises `OSError` if the folder exists but cannot be listed, if it is a broken link, or if it has too many entries.
    """
    folder = config.parent / FOLDER
    try:
        with os.scandir(folder) as entries:
            found = [each.name for each in islice(entries, MAX_ENTRIES + 1)]
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_symlink():  # a link to a place that is not available now: the pipelines stay
            raise
        return ()
    if len(found) > MAX_ENTRIES:
        raise OSError(errno.E2BIG, f"has more than {MAX_ENTRIES} entries", str(folder))
    names = sorted(name for name in found if name.endswith(".yaml") and name[0] != ".")
    return tuple(folder / name for name in names)


def look_at(config: Path) -> Look:
    """Return the metadata of all files of a configuration; empty if the main file is missing."""
    found = look(config)
    try:
        parts = parts_of(config)[:MAX_PARTS] if found else ()
    except (OSError, ValueError):
        return (*found, *look(config.parent / FOLDER))
    for part in parts:
        found += look(part) or _place(part)
    return found


def _place(part: Path) -> Look:
    """Return the metadata of a broken link, or of a file that this user may not examine; empty if it is gone."""
    try:
        found = part.lstat()
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_mtime_ns


def digest_of(main: str, parts: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a configuration: that of the main file, combined with names and digests of any parts."""
    lines = [f"{digest} {name}\n" for name, digest in parts]
    text = "".join([f"{main}\n", *lines])
    return hashlib.sha256(os.fsencode(text)).hexdigest() if lines else main


def texts_of(config: Path) -> dict[Path, bytes]:
    """Return the bytes of each file, the main file first; raises `OSError`, also for too many or too large files."""
    parts = parts_of(config)
    if len(parts) > MAX_PARTS:
        raise OSError(errno.E2BIG, too_many(len(parts)), str(config.parent / FOLDER))
    texts: dict[Path, bytes] = {}
    left = MAX_BYTES
    for path in (config, *parts):
        texts[path] = content(path, left + 1)
        left -= len(texts[path])
        if left < 0:
            raise OSError(errno.EFBIG, TOO_LARGE, str(path))
    return texts


def environment_for(config: Path) -> dict[str, str]:
    """Return the environment for the process that reads a configuration.

    Take the variables that its files name out of this process's environment, so that no other child inherits them.
    """
    try:
        take(_named(config))
    except OSError:  # the process that reads the files reports what is wrong with them
        names_unknown()
    return with_taken()


def variables_of(text: bytes) -> frozenset[str]:
    """Return the names of the variables ``${NAME}`` in a file."""
    return frozenset(name.decode() for name in _VARIABLE.findall(text))


def too_many(count: int) -> str:
    """Return the error for too many files in ``conf.d``."""
    return f"has {count} files, more than the limit of {MAX_PARTS}: write several cameras into one file"


def digest_of_texts(texts: Mapping[Path, bytes]) -> str:
    """Return the digest of a configuration that `texts_of` has read."""
    main, *parts = ((path.name, hashlib.sha256(text).hexdigest()) for path, text in texts.items())
    return digest_of(main[1], parts)


def named_variables(config: Path) -> frozenset[str]:
    """Return the names of the variables that the files of a configuration refer to; none if it cannot be read."""
    with suppress(OSError):
        return _named(config)
    return frozenset()


def _named(config: Path) -> frozenset[str]:
    return frozenset().union(*map(variables_of, texts_of(config).values()))
