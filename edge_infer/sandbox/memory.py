"""Keeps the memory of a room out of the swap space, where there is one."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from edge_infer.sandbox import kernel

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


def pin(root: Path = Path("/")) -> None:
    """Sees to it that no page is written to a disk; raises `OSError` with the reason where that cannot be had.

    Nothing to do without swap space on a disk (zram is memory) or where the control group has none
    (``MemorySwapMax=0``). Else pages are locked as they are touched, which only an unlimited RLIMIT_MEMLOCK allows:
    with less, the next allocation would fail. ``root`` holds ``proc`` and ``sys``.
    """
    if not _swap_on_disk(root) or _group_has_none(root):
        return
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(
            errno.EPERM, "there is swap space, and LimitMEMLOCK=infinity is missing to keep memory out of it"
        ) from error
    kernel.mlockall(_CURRENT | _FUTURE | _ON_FAULT)


def _swap_on_disk(root: Path) -> bool:
    try:
        lines = (root / "proc/swaps").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(not line.startswith("/dev/zram") for line in lines)


def _group_has_none(root: Path) -> bool:
    """Whether one of the control groups (version 2) that this process is in allows no swap."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return False
    name = next((line[3:] for line in lines if line.startswith("0::")), "")
    group = root / "sys/fs/cgroup" / name.lstrip("/")
    return any(_text(folder / "memory.swap.max") == "0" for folder in (group, *group.parents))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
