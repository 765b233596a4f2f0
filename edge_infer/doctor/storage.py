"""Check of the state directory and its disk."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, fail, ok, warn

_LITTLE: Final = 200 << 20
"""Bytes of free space below which an outbox and a second version of a model may not fit."""


def storage(state_dir: Path) -> Finding:
    """Check whether state can be stored there, and how much space is free."""
    try:
        place = _nearest(state_dir)
    except PermissionError:
        return ok("state", f"{state_dir}, closed to this user; sudo edge-infer doctor looks into it")
    free = shutil.disk_usage(place).free
    fact = f"{state_dir}, {free >> 20} MiB free"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return fail("state", f"{fact}, on a file system that is read-only", "remount it, or set device.state_dir")
    if free < _LITTLE:
        return warn("state", fact, "make room on the disk")
    if place == state_dir and not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return ok("state", f"{fact}; it belongs to {_owner(place)}, this user cannot write there")
    if place != state_dir and not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return ok("state", f"{fact}; it is not there yet and this user cannot make it")
    return ok("state", fact)


def _nearest(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent; raises `PermissionError`."""
    for place in (folder, *folder.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            place.stat()
            return place
    return Path("/")


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"
