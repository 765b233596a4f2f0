"""Memory check: whether a model fits into memory beside the model that it replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_infer.plan.records import Plan
from edge_infer.platform.memory import limited_groups, lines

SPARE: Final = 32 << 20
"""Bytes that must stay free for the kernel and for users who log in."""


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
