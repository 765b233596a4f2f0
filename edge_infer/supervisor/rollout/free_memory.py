"""Memory check: whether a model fits into memory beside the model that it replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_infer.plan.records import Plan

SPARE: Final = 32 << 20
"""Bytes that must stay free for the kernel and for users who log in."""
_GROUP_LIMITS: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""File names of the control group's limit and usage, in version 2 and version 1."""


def suffices(before: Plan | None, after: Plan, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the pipelines whose next model would not fit beside the current one.

    Models without a measured size are assumed to fit.
    """
    former = {pipeline.name: pipeline.model.sha256 for pipeline in before.pipelines} if before else {}
    room = free(root)
    alone = []
    for pipeline in after.pipelines:
        need = pipeline.model.measured.memory
        if former.get(pipeline.name, pipeline.model.sha256) == pipeline.model.sha256 or need is None or room is None:
            continue
        room -= need
        if room < SPARE:
            alone.append(pipeline.name)
    return tuple(alone)


def free(root: Path = Path("/")) -> int | None:
    """Return the bytes that are available on the board and in the control group; None if that is unknown."""
    return min(_tell(root), default=None)


def _tell(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) << 10
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = root / "sys/fs/cgroup" / controllers / place.lstrip("/")
            for most, used in _GROUP_LIMITS:
                limit, usage = _lines(folder / most), _lines(folder / used)
                if limit and usage and limit[0].isdecimal():
                    yield int(limit[0]) - int(usage[0]) + _given_back(folder)


def _given_back(folder: Path) -> int:
    """Return the bytes of the control group's inactive file cache, which the kernel can reclaim."""
    counts = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
