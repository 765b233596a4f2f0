"""The store: model files by their digest, so that what runs does not change under the daemon."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from edge_infer.errors import StartError


def keep(data: bytes, sha256: str, store: Path, ending: str = ".tflite") -> Path:
    """The path of the copy of ``data``, which is written durably unless it is there; raises `StartError`."""
    path = store / f"{sha256}{ending}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        if not _holds(path, sha256):
            _write(path, data)
    except OSError as error:
        hint = _hint(store) if isinstance(error, PermissionError) else ""
        raise StartError(f"the model store {store} cannot be written: {error.strerror}{hint}") from error
    return path


def _hint(store: Path) -> str:
    """Who may write there: models are written without the powers of root, which may then be the wrong user itself."""
    try:
        folder = store if store.exists() else store.parent
        owner = folder.owner()
    except (OSError, KeyError):
        return ""
    return f"; {folder} belongs to {owner}, so run it as that user: runuser -u {owner} -- edge-infer run …"


def _holds(path: Path, sha256: str) -> bool:
    """Whether the copy is whole: cards lose and flip bytes."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while part := stream.read(1 << 20):
                digest.update(part)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256


def _write(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
    try:
        with open(handle, "wb") as stream:  # noqa: PTH123 - the descriptor is what mkstemp gave
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the new name, too, has to survive a power cut
    finally:
        os.close(folder)
