"""Protection of a process's memory against being swapped to disk."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from edge_infer.sandbox import kernel

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


def pin(root: Path = Path("/")) -> None:
    """Keep every page off the disk; raises `OSError` with the reason if that is impossible.

    There is nothing to do without swap space on a disk (zram is memory) or if the control group forbids swap
    (``MemorySwapMax=0``). Otherwise pages are locked as they are touched, which requires an unlimited RLIMIT_MEMLOCK:
    with less, the next allocation would fail. ``root`` contains ``proc`` and ``sys``.
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
    """Return whether a control group (version 2) of this process forbids swap."""
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
