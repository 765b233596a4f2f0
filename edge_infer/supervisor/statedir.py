"""The state directory: one daemon at a time, found even when the configuration is broken."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_infer.config.places import publisher_folder
from edge_infer.errors import StartError
from edge_infer.sandbox.needs import store_folder

LOCK: Final = "lock"
_DYNAMIC_USERS: Final = range(61184, 65520)
"""Those that systemd makes for a service while it runs (``DynamicUser=yes``)."""
_DATABASE: Final = "outbox.sqlite"
_MOVED: Final = ("topics.json", "discovery.json", "open-events.json", _DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm")
"""What the publisher kept beside the others, once."""


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Holds the state directory, making it when it is not there; raises `StartError` for a second daemon."""
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        _check_owner(state_dir)
        _make_folders(state_dir)
        file = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except StartError:
        raise
    except OSError as error:
        raise StartError(
            f"the state directory {state_dir} cannot be used: {error.strerror or error}; make it writable for this "
            "user or name another one under device.state_dir"
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            raise StartError(
                f"another edge-infer (pid {holder}) uses {state_dir}; stop it, "
                "or give this one a device.state_dir of its own"
            ) from error
        with suppress(OSError):  # on a full disk the lock holds all the same; only its holder has no name
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _check_owner(state_dir: Path) -> None:
    """Root would lock it, but its rooms, without the powers of root, could not write there."""
    found = state_dir.stat()
    if os.geteuid() == 0 != found.st_uid and not found.st_mode & 0o002:
        try:
            owner = state_dir.owner()
            by_hand = found.st_uid not in _DYNAMIC_USERS
            command = f": runuser -u {owner} -- edge-infer run" if by_hand else ": systemctl start edge-infer"
        except KeyError:
            owner, command = f"user {found.st_uid}", ": systemctl start edge-infer"
        raise StartError(
            f"the state directory {state_dir} belongs to {owner}, and edge-infer writes there without the powers of "
            f"root; run it as that user{command}"
        )


def _make_folders(state_dir: Path) -> None:
    """What the rooms shut themselves into has to be there before; a version before this one kept files elsewhere."""
    folder = publisher_folder(state_dir)
    folder.mkdir(mode=0o700, exist_ok=True)
    store_folder(state_dir).mkdir(mode=0o755, exist_ok=True)
    for name in _MOVED:
        with suppress(FileNotFoundError):
            (state_dir / name).rename(folder / name)
