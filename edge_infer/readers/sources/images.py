"""Pictures from a folder, one after the other."""

from __future__ import annotations

import glob
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Pixels
from edge_infer.frames.picture import LARGEST, decode_picture
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.platform.paths import source_folder
from edge_infer.readers.sources import Picture, remedy_for

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

SUFFIXES: Final = frozenset({".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes of pictures in a folder. A glob accepts all files that it matches."""


@dataclass(frozen=True, slots=True)
class ImagesOptions:
    """``path`` is a folder or a glob; with ``realtime`` a picture is due every ``every`` seconds."""

    path: str
    loop: bool = False
    realtime: bool = False
    every: float = 1.0


class ImagesSource(Closing):
    """Pictures by name in natural order (2 before 10); `skipped` counts unreadable files."""

    gives: ClassVar[Gives] = "image"
    lasting: ClassVar[bool] = True
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = False
    stills: ClassVar[bool] = True
    network: bool = False
    Options = ImagesOptions

    def __init__(self, options: ImagesOptions) -> None:
        self.lossless = not options.realtime
        self.patience = options.every if options.realtime else 0.0
        self.skipped = 0
        self._told: set[str] = set()
        self._others = hash(frozenset[str]())  # a hash of the names of other files: the names may take much memory
        self._options = options
        self._closed = threading.Event()
        self._paths: list[Path] = []
        self._next = 0
        self._good = False
        self._due = self._position = 0.0

    def __enter__(self) -> Self:
        self._closed.clear()
        self._start_over()
        self._due = time.monotonic()
        return self

    def read(self) -> Picture | None:
        """Return the next readable picture, when it is due; None after the last."""
        while not self._closed.is_set():
            if self._next == len(self._paths):
                if not self._good:
                    raise SourceError(f"none of the {len(self._paths)} files of {self._options.path} is a picture")
                if not self._options.loop:
                    return None
                self._start_over()
            path = self._paths[self._next]
            self._next += 1
            pixels = self._load(path)
            if pixels is not None:
                return self._picture(pixels) if self._wait() else None
        return None

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop; may be called twice."""
        self._closed.set()

    def _start_over(self) -> None:
        """Start at the first picture, and list the files again, because the folder may have grown."""
        self._paths, others = list_pictures(self._options.path)
        self._next, self._good = 0, False
        if hash(others) != self._others:  # a loop would repeat the message
            log_others(self._options.path, others)
            self._others = hash(others)
        if not self._paths:
            raise SourceError(
                f"{self._options.path} contains no picture; expected a folder of pictures, or a pattern like x/*.png"
            )

    def _load(self, path: Path) -> Pixels | None:
        try:
            pixels = read_picture(path, source_folder(self._options.path))
        except SourceError as error:
            self.skipped += 1
            if str(error) not in self._told:  # a loop would repeat the message
                self._told.add(str(error))
                log.warning("picture skipped: %s", error)
            return None
        self._good = True
        return pixels

    def _picture(self, pixels: Pixels) -> Picture:
        position, self._position = self._position, self._position + self._options.every
        return Picture(pixels, "bgr", time.time(), time.monotonic(), None if self._options.realtime else position)

    def _wait(self) -> bool:
        """Wait until the next picture is due; return False if the source is closed in the meantime."""
        if not self._options.realtime:
            return True
        closed = self._closed.wait(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._options.every, time.monotonic())
        return not closed


def find_pictures(path: str) -> list[Path]:
    """Return the picture files of a folder, or the files that a glob matches, in natural order. Log the other files."""
    found, others = list_pictures(path)
    log_others(path, others)
    return found


def list_pictures(path: str) -> tuple[list[Path], frozenset[str]]:
    """Return the picture files as `find_pictures` does, and the names of the folder's other files."""
    folder = Path(path)
    others: frozenset[str] = frozenset()
    if folder.is_dir():
        files = [file for file in folder.iterdir() if may_be_picture(file)]
        found = [file for file in files if file.suffix.lower() in SUFFIXES]
        others = frozenset(file.name for file in files if file.suffix.lower() not in SUFFIXES)
    else:
        found = [Path(name) for name in glob.glob(path, recursive=True)]  # noqa: PTH207 - patterns are absolute
    return sorted((file for file in found if may_be_picture(file)), key=natural), others


def may_be_picture(file: Path) -> bool:
    """Return whether a path is a file, or a link whose target cannot be examined; the source skips and logs this one.

    `Path.is_file` raises if the target is in a folder that this user may not enter. One link must not end the source.
    """
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except FileNotFoundError:
        return os.path.islink(file)  # noqa: PTH114 - never raises
    except OSError:
        return True


def log_others(path: str, others: Collection[str]) -> None:
    """Log the number of files in a folder that are no pictures, if there are any."""
    if others:
        suffixes = " ".join(sorted(SUFFIXES))
        log.info("%s: skipped %d files without the suffix of a picture (one of %s)", path, len(others), suffixes)


def some_pictures(path: str, most: int) -> list[Path]:
    """Return the pictures among the first entries of a folder, or among the first matches of a glob, in natural order.

    No entry beyond ``most`` is examined, so that a large folder takes little time.
    """
    folder = Path(path).is_dir()
    with os.scandir(path) if folder else nullcontext() as entries:
        named = glob.iglob(path, recursive=True)  # noqa: PTH207 - patterns are absolute
        names = named if entries is None else (entry.path for entry in entries)
        found = [Path(name) for name in islice(names, most)]
    return sorted(
        (file for file in found if (not folder or file.suffix.lower() in SUFFIXES) and may_be_picture(file)),
        key=natural,
    )


def natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers in names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def read_picture(path: Path, folder: str = "") -> Pixels:
    """Return a picture in BGR order, turned upright by its EXIF data; raises `SourceError`.

    ``folder`` is the folder that the source may read.
    """
    try:
        large = path.stat().st_size > LARGEST
        data = b"" if large else path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}{remedy_for(error, folder)}") from error
    if large:
        raise SourceError(f"{path} is larger than {LARGEST >> 20} MB; make it smaller first")
    pixels = decode_picture(data) if data else None
    if pixels is None:
        raise SourceError(f"{path} is not a readable picture, or it is truncated or far too large")
    return pixels
