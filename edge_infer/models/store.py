"""The store: model files by digest in ``<state_dir>/blobs``, so that what runs does not change under the daemon."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_infer.config.plan import ModelPlan, TextPlan
from edge_infer.durable import UNFINISHED, replacing, sync_folder
from edge_infer.errors import StartError
from edge_infer.models.files import file_options

BLOBS: Final = "blobs"
"""The folder of the store, in the state directory."""
_BLOCK: Final = 1 << 20


def keep(data: bytes, sha256: str, store: Path, ending: str = ".tflite") -> Path:
    """The path of the copy of ``data``, which is written durably unless it is there; raises `StartError`.

    A copy is read once more after it was written: what the disk has is what has to be right.
    """
    path = store / f"{sha256}{ending}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        whole = _holds(path, sha256) or _write(path, data, sha256)
    except OSError as error:
        hint = _hint(store) if isinstance(error, PermissionError) else ""
        raise StartError(f"the model store {store} cannot be written: {error.strerror}{hint}") from error
    if not whole:
        raise StartError(f"the disk of {store} does not keep what is written to it; the card may be worn out")
    return path


def _write(path: Path, data: bytes, sha256: str) -> bool:
    """Writes a copy; whether it is what the disk has now."""
    with replacing(path, 0o644) as file:
        file.write(data)
    whole = _holds(path, sha256, fresh=True)
    if not whole:
        path.unlink()
    return whole


def digests_of(models: Iterable[ModelPlan]) -> set[str]:
    """The digests of all copies that models need to run: their files, vocabularies, and files of their decoders."""
    found = set()
    for model in models:
        found.add(model.sha256)
        found |= {Path(path).stem for path in file_options(model.decoder.options).values()}
        if isinstance(model.input, TextPlan):
            found.add(model.input.vocabulary_sha256)
    return found


def collect(store: Path, referenced: set[str]) -> list[Path]:
    """Removes the copies whose digests nobody refers to, and what was never finished; what is gone. Raises `OSError`.

    To be called while nobody writes into the store.
    """
    gone = []
    for path in sorted(store.iterdir()) if store.is_dir() else ():
        if path.name.startswith(UNFINISHED) or path.name.partition(".")[0] not in referenced:
            path.unlink()
            gone.append(path)
    if gone:
        sync_folder(store)
    return gone


def _hint(store: Path) -> str:
    """Who may write there: models are written without the powers of root, which may then be the wrong user itself."""
    try:
        folder = store if store.exists() else store.parent
        owner = folder.owner()
    except (OSError, KeyError):
        return ""
    return f"; {folder} belongs to {owner}, so run it as that user: runuser -u {owner} -- edge-infer run …"


def _holds(path: Path, sha256: str, *, fresh: bool = False) -> bool:
    """Whether the copy is whole: cards lose and flip bytes. With ``fresh`` the disk itself is read, not its cache."""
    try:
        with path.open("rb") as stream:
            if fresh:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            digest = hashlib.sha256()
            while part := stream.read(_BLOCK):
                digest.update(part)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256
