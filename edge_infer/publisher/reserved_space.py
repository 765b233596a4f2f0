"""Disk space reserved for what the publisher writes when it ends on a full disk.

Space that a process frees is not always free for that process: on ext4, root's reserve gets it first if root has filled
the disk. So nothing is freed. The data goes into the blocks of a file that exists already, and this file then gets the
name under which the next process looks for the data. After a power cut during the write, it does not have that name.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.platform.durable_files import sync_folder

SUFFIX: Final = ".space"
MOST: Final = 256 << 10
"""Maximum bytes of a reserved file."""


def reserve(space: Path, size: int) -> None:
    """Make a file of ``size`` bytes unless it exists. On a full disk there is none; a longer file is cut."""
    try:
        found = space.stat().st_size if space.exists() else 0
        if found > size:
            os.truncate(space, size)
        elif found < size:
            space.write_bytes(bytes(size))
    except OSError:
        with suppress(OSError):
            space.unlink(missing_ok=True)


def fill(space: Path, data: bytes, path: Path) -> None:
    """Write ``data`` and blanks into the reserved file and rename it to ``path``, both durably.

    Raises `OSError`, also if the data is too long. ``path`` has not changed then.
    """
    with os.fdopen(os.open(space, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "wb") as file:
        size = min(os.fstat(file.fileno()).st_size, MOST)
        if len(data) > size:
            raise OSError(errno.ENOSPC, f"{len(data)} bytes do not fit into {space.name}")
        file.write(data.ljust(size))
        file.flush()
        os.fsync(file.fileno())
    space.replace(path)
    sync_folder(path.parent)
