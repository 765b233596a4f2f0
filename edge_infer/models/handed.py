"""The files that were handed to a process that tries a model, by where they lie on the side of who handed them over."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_infer import memfd
from edge_infer.errors import ModelError, ModelKey

_PLACE: Final = re.compile(re.escape(memfd.place(0))[:-1] + r"\d+")


class HandedFiles:
    """Open copies, each known by the path of the original."""

    def __init__(self, paths: Sequence[str], files: Sequence[int]) -> None:
        self._files = dict(zip(paths, files, strict=True))
        self._origins = {memfd.place(file): path for path, file in self._files.items()}

    def place(self, path: Path | str) -> str:
        """Where this process can open a file; raises `ModelError` for one that was not handed over."""
        return memfd.place(self._file(path))

    def origin(self, place: str) -> str:
        """Where the file lies that `place` has given; other paths stay as they are."""
        return self._origins.get(place, place)

    def in_words(self, text: str) -> str:
        """A message in which files have the names that the operator knows."""
        return _PLACE.sub(lambda found: self.origin(found[0]), text)

    def read(self, path: Path | str, most: int, *, key: ModelKey = "file") -> bytes:
        """The bytes of a file; raises `ModelError` for more than ``most``."""
        data = memfd.content(self._file(path, key))
        if len(data) > most:
            raise ModelError(f"{path} has {len(data)} bytes; more than {most} are not read", key=key)
        return data

    def size(self, path: Path | str) -> int:
        """Bytes of a file."""
        return os.fstat(self._file(path)).st_size

    def _file(self, path: Path | str, key: ModelKey = "file") -> int:
        found = self._files.get(str(path))
        if found is None:
            raise ModelError(f"{path} was not handed to the process that tries the model", key=key)
        return found
