"""Handover by root: creates the state directory for the target user, or hands over one that root has used."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.models.packages.blob_store import BLOBS
from edge_infer.models.serving_record import UNPROVEN
from edge_infer.platform.durable_files import UNFINISHED
from edge_infer.platform.paths import publisher_folder, trials_folder
from edge_infer.sandbox.identity import Identity
from edge_infer.sandbox.safe_path import ForeignLinkError, real_place
from edge_infer.supervisor.control.server import SOCKET_NAME
from edge_infer.supervisor.drift_references import FOLDER as DRIFT
from edge_infer.supervisor.statedir import ASIDE, FORMAT_FILE, LOCK, MOVED, held

_FOLDERS: Final = (BLOBS, DRIFT, "models", publisher_folder("/").name, trials_folder("/").name)
_OURS: Final = frozenset({LOCK, FORMAT_FILE, SOCKET_NAME, UNPROVEN, *_FOLDERS, *MOVED})
"""Names in a state directory other than the JSON records."""
_SYSTEM: Final = frozenset(
    f"/{name}"
    for name in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc", "root"),
        *("run", "sbin", "srv", "sys", "tmp", "usr", "usr/local", "usr/share", "var", "var/cache", "var/lib"),
        *("var/lib/private", "var/log", "var/spool", "var/tmp"),
    )
)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEDY: Final = "name a folder of its own under device.state_dir, or give this one to the user: chown -R"


def hand_over(state_dir: Path, identity: Identity) -> None:
    """Create ``state_dir`` and give it to ``identity``, with the files that an earlier version left there as root.

    Links are never followed, except root's own links on the way to the directory, which no other user can replace.
    Files with several hard links are skipped, so that no file outside changes its owner. Raises `StartError` for a
    folder that does not belong to edge-infer, or that another user could replace.
    """
    try:
        place = real_place(state_dir, {0})
        folder = _make(place)
    except ForeignLinkError:
        raise
    except OSError as error:
        raise StartError(f"the state directory {state_dir} cannot be made: {error.strerror or error}") from error
    try:
        if os.fstat(folder).st_uid == 0:
            _check(place, folder, identity)
            _give(folder, identity, os.fstat(folder).st_dev)
    except StartError:
        raise
    except OSError as error:
        raise StartError(
            f"the state directory {state_dir} cannot be given to {identity.name}: {error.strerror or error}; "
            f"{_REMEDY} {identity.uid}:{identity.gid} {shlex.quote(str(state_dir))}"
        ) from error
    finally:
        os.close(folder)
    _give_runtime_directory(identity)


def _make(place: Path) -> int:
    """Create the folder and its missing parents; return an open descriptor of the folder.

    Each part is created and opened relative to its parent, so that a link that another process puts there in the
    meantime is an error.
    """
    folder = os.open("/", _FOLDER)
    for path in (*reversed(place.parents[:-1]), place):
        above, made = folder, True
        try:
            try:
                os.mkdir(path.name, 0o700, dir_fd=above)
            except FileExistsError:
                made = False
            folder = os.open(path.name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
        if made:
            os.fchmod(folder, 0o750 if path == place else 0o755)
    return folder


def _check(place: Path, folder: int, identity: Identity) -> None:
    """Raise `StartError` unless the folder belongs to edge-infer alone."""
    remedy = f"{_REMEDY} {identity.uid}:{identity.gid} {shlex.quote(str(place))}"
    if str(place) in _SYSTEM:
        raise StartError(f"the state directory {place} is a system folder; set another one as device.state_dir")
    if others := sorted(name for name in os.listdir(folder) if not _is_ours(name)):
        raise StartError(
            f"the state directory {place} belongs to root and contains other files, such as {others[0]!r}; {remedy}"
        )
    for parent in place.parents:
        found = parent.stat()
        if found.st_uid not in (0, identity.uid) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise StartError(
                f"the state directory {place} belongs to root, but other users may replace it in {parent}; {remedy}"
            )
    if holder := held(place):
        raise StartError(
            f"another edge-infer (pid {holder}) uses {place}; stop it, or give this one a device.state_dir of its own"
        )


def _is_ours(name: str) -> bool:
    return name in _OURS or name.endswith(".json") or name.startswith((UNFINISHED, ASIDE))


def _give(folder: int, identity: Identity, device: int) -> None:
    """Change the owner of an open folder and its content.

    The folder itself comes last, so that an interrupted run is repeated.
    """
    for name in os.listdir(folder):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if found.st_uid != 0 or found.st_dev != device:
            continue
        if stat.S_ISDIR(found.st_mode):
            below = os.open(name, _FOLDER, dir_fd=folder)
            try:
                _give(below, identity, device)
            finally:
                os.close(below)
        elif stat.S_ISSOCK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
            os.chown(name, identity.uid, identity.gid, dir_fd=folder, follow_symlinks=False)
    os.fchown(folder, identity.uid, identity.gid)


def _give_runtime_directory(identity: Identity) -> None:
    """Hand over the folder that systemd created for the control socket of a service that runs as root."""
    place = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if place and Path(place).is_dir() and Path(place).lstat().st_uid == 0 and not any(Path(place).iterdir()):
        os.chown(place, identity.uid, identity.gid, follow_symlinks=False)
