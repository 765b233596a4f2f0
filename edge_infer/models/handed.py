"""Files handed to a probe process as descriptors, looked up by their paths in the parent process."""

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
        """Return a message with the original file names, which the operator knows."""
        return _PLACE.sub(lambda found: self.origin(found[0]), text)

    def read(self, path: Path | str, most: int, *, key: ModelKey = "file") -> bytes:
        """Return the bytes of a file; raises `ModelError` for more than ``most``."""
        data = memfd.content(self._file(path, key))
        if len(data) > most:
            raise ModelError(f"{path} has {len(data)} bytes; more than {most} are not read", key=key)
        return data

    def size(self, path: Path | str) -> int:
        """Return the size of a file in bytes."""
        return os.fstat(self._file(path)).st_size

    def _file(self, path: Path | str, key: ModelKey = "file") -> int:
        found = self._files.get(str(path))
        if found is None:
            raise ModelError(f"{path} was not handed to the process that tries the model", key=key)
        return found
