"""Sealed in-memory copies of files, which another process receives as open descriptors."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.packages.read_files import LARGEST_MODEL, copy_whole
from edge_infer.models.trials.messages import MAX_FILES
from edge_infer.platform import memfd
from edge_infer.platform.closing import Closing
from edge_infer.sandbox.safe_open import KnownFolder


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
                raise ModelError(f"{path} is one of more than {MAX_FILES} files; remove some golden inputs", key=key)
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


# Files that were handed to a probe process as descriptors, found by their paths in the parent process.

_PLACE: Final = re.compile(re.escape(memfd.place(0))[:-1] + r"\d+")


class ReceivedCopies:
    """Open copies, each identified by the path of its original."""

    def __init__(self, paths: Sequence[str], files: Sequence[int]) -> None:
        self._files = dict(zip(paths, files, strict=True))
        self._origins = {memfd.place(file): path for path, file in self._files.items()}

    def place(self, path: Path | str) -> str:
        """Return a path that opens the file in this process; raises `ModelError` if it was not handed over."""
        return memfd.place(self._file(path))

    def origin(self, place: str) -> str:
        """Return the original path for a path that `place` returned; other paths stay unchanged."""
        return self._origins.get(place, place)

    def in_words(self, text: str) -> str:
        """Return a message with the original file names, which are known to the operator."""
        return _PLACE.sub(lambda found: self.origin(found[0]), text)

    def read(self, path: Path | str, most: int, *, key: ModelKey = "file") -> bytes:
        """Return the bytes of a file; raises `ModelError` for more than ``most``."""
        data = memfd.content(self._file(path, key))
        if len(data) > most:
            raise ModelError(f"{path} has {len(data)} bytes; the limit is {most}", key=key)
        return data

    def size(self, path: Path | str) -> int:
        """Return the size of a file in bytes."""
        return os.fstat(self._file(path)).st_size

    def _file(self, path: Path | str, key: ModelKey = "file") -> int:
        found = self._files.get(str(path))
        if found is None:
            raise ModelError(f"the trial process of the model has no copy of {path}", key=key)
        return found
