"""Sealed in-memory copies of files, which another process receives as open descriptors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_infer import memfd
from edge_infer.closing import Closing
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.beneath import KnownFolder
from edge_infer.models.files import LARGEST_MODEL, copy_whole
from edge_infer.models.order import MAX_FILES


@dataclass(frozen=True, slots=True)
class _Copy:
    file: int
    sha256: str
    size: int


class SealedCopies(Closing):
    """Copies by the paths of their originals, at most `LARGEST_MODEL` bytes in total."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the originals, in the order of `descriptors`."""
        return tuple(self._copies)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Open descriptors of the copies."""
        return tuple(copy.file for copy in self._copies.values())

    def add(
        self,
        path: Path,
        most: int,
        *,
        key: ModelKey = "file",
        roots: Sequence[str] = (),
        folder: KnownFolder | None = None,
    ) -> str:
        """Copy a file unless it is copied already, and return its SHA-256; raises `ModelError` as `copy_whole` does."""
        known = self._copies.get(str(path))
        if known is None:
            if len(self._copies) >= MAX_FILES:
                raise ModelError(f"{path} is one of more than {MAX_FILES} files; leave some golden inputs out", key=key)
            left = LARGEST_MODEL - sum(copy.size for copy in self._copies.values())
            file, sha256 = copy_whole(path, min(most, left), key=key, roots=roots, folder=folder)
            known = self._copies[str(path)] = _Copy(file, sha256, os.fstat(file).st_size)
        return known.sha256

    def digest(self, path: Path | str) -> str | None:
        """Return the SHA-256 of a file; None if it was not copied."""
        copy = self._copies.get(str(path))
        return copy.sha256 if copy is not None else None

    def read(self, path: Path | str) -> bytes:
        """Return the bytes of a copied file."""
        return memfd.content(self._copies[str(path)].file)

    def close(self) -> None:
        """Close the copies; may be called twice."""
        copies, self._copies = self._copies, {}
        for copy in copies.values():
            os.close(copy.file)
