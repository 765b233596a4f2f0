"""What lies at a path, told by nothing but its metadata: whether it is still what it was."""

from __future__ import annotations

from pathlib import Path

Look = tuple[int, ...]
"""Device, inode, size and times of what the path leads to, inode and time of the last link; empty: nothing."""


def look(path: Path) -> Look:
    """What lies there now."""
    try:
        last, through = path.stat(), path.lstat()
    except (OSError, ValueError):
        return ()
    return (
        last.st_dev, last.st_ino, last.st_size, last.st_mtime_ns, last.st_ctime_ns,
        through.st_ino, through.st_mtime_ns,
    )  # fmt: skip
