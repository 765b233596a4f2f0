"""Memory that this program may use, by the board and its control groups, free memory, and kills for lack of memory.

``root`` holds ``proc`` and ``sys``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_LIMITS: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""File names of a control group's limit and usage, in version 2 and version 1."""
_UNLIMITED: Final = 1 << 60
"""Bytes from which a limit counts as no limit, because version 1 has no name for that."""
_KILLS: Final = ("memory.events", "memory.oom_control")
"""File names of a control group's counter ``oom_kill``, in version 2 and version 1."""


@cache
def usable_memory(root: Path = _ROOT) -> int | None:
    """Return the bytes of the board or, if less, those that the control groups allow; None if both are unknown.

    The first call decides the result, so call it before a sandbox hides the files.
    """
    limit = group_limit(root)
    try:
        board = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return limit
    return board if limit is None else min(board, limit)


def group_limit(root: Path = _ROOT) -> int | None:
    """Return the lowest memory limit (bytes) of this process's control groups; None without a limit."""
    return min((limit for _, limit, _ in limited_groups(root)), default=None)


def limited_groups(root: Path = _ROOT) -> Iterator[tuple[Path, int, int]]:
    """Yield folder, limit and usage (bytes) of each control group of this process that limits its memory."""
    for folder in _groups(root):
        for most, used in _LIMITS:
            limit, usage = lines(folder / most), lines(folder / used)
            if limit and limit[0].isdecimal() and int(limit[0]) < _UNLIMITED:
                yield folder, int(limit[0]), int(usage[0]) if usage else 0


class MemoryKills:
    """Distinguishes kills for lack of memory from other kills, for processes that share a control group."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self.forget()

    def forget(self) -> None:
        """Ignore the kills up to now."""
        self._known = self._count()

    def take(self) -> bool | None:
        """Return whether the kernel has killed one more process for lack of memory; None if it does not count them."""
        count = self._count()
        if count is None or self._known is None:
            return None
        more = count > self._known
        self._known += more
        return more

    def _count(self) -> int | None:
        """Return the kills in this process's control group, or else on the board; Linux counts them since 4.13."""
        files = [folder / name for folder in _groups(self._root) for name in _KILLS]
        for file in (*files, self._root / "proc/vmstat"):
            for line in lines(file):
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return None


def lines(path: Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control group for memory and of its ancestors.

    In a container the path may be that of the host, and only the last folder, the container's own, exists.
    """
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, place = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
            folder = top / place.lstrip("/")
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))


# Free memory.

SPARE_BYTES: Final = 32 << 20
"""Bytes that must stay free for the kernel and for user logins."""


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that are available on the board and in the control groups; None if that is unknown."""
    return min(_tell(root), default=None)


def _tell(root: Path) -> Iterator[int]:
    for line in lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) << 10
    for folder, limit, usage in limited_groups(root):
        yield limit - usage + _given_back(folder)


def _given_back(folder: Path) -> int:
    """Return the bytes of the control group's inactive file cache, which the kernel can reclaim."""
    counts = dict(line.split(" ", 1) for line in lines(folder / "memory.stat") if " " in line)
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
