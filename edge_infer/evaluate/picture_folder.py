"""The folder with the files that labels name; no label leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
SIGNALS: Final = frozenset({".wav", ".csv", ".npy"})
TEXTS: Final = frozenset({".txt"})
ENDINGS: Final = {"image": PICTURES, "samples": SIGNALS, "text": TEXTS}
"""Endings of the files that a model takes, by kind of its input."""


class PictureFolder:
    """Finds files by the names in labels: in one of some folders, which the first file that is there decides."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders

    def find(self, name: str) -> str:
        """Return the path of a file; empty if the name leads out of the folder.

        A path that nothing is at is that of the first folder: whoever opens it reports it.
        """
        if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
            return ""
        for place, folder in enumerate(self._folders):
            # `Path.is_file` raises for a name that is too long, and in a closed folder.
            if os.path.isfile(folder / name):  # noqa: PTH113
                if place:
                    self._folders = (folder, *self._folders[:place], *self._folders[place + 1 :])
                return str(folder / name)
        return str(self._folders[0] / name)


def files_below(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    """Yield files with these endings in a folder and below it, in order; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings:  # noqa: PTH122 - many files
                yield Path(place, name)
