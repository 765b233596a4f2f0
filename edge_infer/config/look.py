"""Metadata of a path that shows whether its file has changed."""

from __future__ import annotations

from pathlib import Path

Look = tuple[int, ...]
"""Device, inode, size and times of the path's target, then inode and time of the link itself; empty if missing."""


def look(path: Path) -> Look:
    """Return the metadata of a path now."""
    try:
        last, through = path.stat(), path.lstat()
    except (OSError, ValueError):
        return ()
    return (
        last.st_dev, last.st_ino, last.st_size, last.st_mtime_ns, last.st_ctime_ns,
        through.st_ino, through.st_mtime_ns,
    )  # fmt: skip
