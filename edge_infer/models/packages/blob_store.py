"""Copies of model files in ``<state_dir>/blobs``, named by digest, so that files in use cannot change."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.platform.durable_files import replacing
from edge_infer.platform.folder_tidy import tidy_folder
from edge_infer.platform.paths import open_regular

BLOBS: Final = "blobs"
"""Name of the store's folder in the state directory."""
_BLOCK: Final = 1 << 20
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def keep(data: bytes, sha256: str, store: Path, ending: str = ".tflite") -> Path:
    """Return the path of the copy of ``data``; write it durably if it is missing. Raises `StartError`.

    A new copy is read back after the write, because the content on the disk must be correct.
    """
    path = store / f"{sha256}{ending}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        whole = holds(path, sha256) or _write(path, data, sha256)
    except OSError as error:
        hint = _hint(store) if isinstance(error, PermissionError) else ""
        raise StartError(f"the model store {store} cannot be written: {error.strerror}{hint}") from error
    if not whole:
        raise StartError(f"the disk of {store} returns other data than was written; the card may be worn out")
    return path


def _write(path: Path, data: bytes, sha256: str) -> bool:
    """Write a copy and return whether the disk holds the right content."""
    with replacing(path, 0o644) as file:
        file.write(data)
    whole = holds(path, sha256, fresh=True)
    if not whole:
        path.unlink()
    return whole


def promised_digest(path: str) -> str | None:
    """Return the SHA-256 in the name of a copy; None if the file name contains none."""
    stem = Path(path).stem
    return stem if _DIGEST.fullmatch(stem) else None


def collect(store: Path, needed: Iterable[str]) -> bool:
    """Remove all entries except the files that these paths name; return whether entries are left for another call.

    The caller makes sure that no process writes into the store at this time.
    """
    names = {Path(path).name for path in needed}
    return tidy_folder(store, names)


def _hint(store: Path) -> str:
    """Return a hint that names the owner of ``store`` or of its parent folder.

    Models are written without root's capabilities, so root may fail.
    """
    try:
        folder = store if store.exists() else store.parent
        owner = folder.owner()
    except (OSError, KeyError):
        return ""
    return f"; {folder} belongs to {owner}, so run it as that user: runuser -u {owner} -- edge-infer run …"


def holds(path: Path, sha256: str | None, *, fresh: bool = False) -> bool:
    """Return whether the copy is intact: SD cards lose and flip bytes. ``fresh`` bypasses the page cache."""
    try:
        if (stream := open_regular(path, os.O_NOFOLLOW)) is None:
            return False
        with stream:
            if fresh:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            digest = hashlib.sha256()
            while part := stream.read(_BLOCK):
                digest.update(part)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EACCES):
            return False
        raise
    return digest.hexdigest() == sha256
