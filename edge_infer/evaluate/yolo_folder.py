"""Labelled boxes in YOLO's text format: beside each picture, or in a folder ``labels`` beside ``images``, one file.

A line is ``class x y width height``, the centre and the size in fractions of the picture, or ``class x1 y1 x2 y2 x3
y3 …``, the corners of a polygon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edge_infer.errors import InputError
from edge_infer.evaluate.data_place import NAME_LISTS, name_files
from edge_infer.evaluate.examples import PICTURES, LabelledBoxes, LabelledExample, NoteCounter, Truth, files_below
from edge_infer.models.packages.labels import parse_labels
from edge_infer.platform.paths import content
from edge_infer.yamlfile.load import read_document

LABELS: Final = ".txt"
LARGEST: Final = 1 << 20
"""Maximum size in bytes of a file of labels or names."""
MAX_FRACTION: Final = 1e6
"""Maximum coordinate of a corner in fractions of the picture; a corner further away is an error of the file."""


class YoloFolder:
    """The pictures of a folder with their text files; a picture without a text file has no objects.

    A text file of labels without a picture counts as an example that cannot be read.
    """

    truth: Truth = "boxes"
    in_rows: bool = False

    def __init__(self, labels: Path, pictures: Path, otherwise: Sequence[str]) -> None:
        """List the pictures; ``otherwise`` are the names of the classes if no file has them. Raises `InputError`."""
        self.notes = NoteCounter()
        self._labels, self._pictures = labels, pictures
        self._paths = list(files_below(pictures, PICTURES))
        if not self._paths:
            raise InputError(f"{pictures}: the folder contains no pictures; name the folder with them: --images FOLDER")
        if not any(os.path.isfile(self._label_file(path)) for path in self._paths):  # noqa: PTH113 - it may be a closed folder
            raise InputError(
                f"{labels}: no picture in {pictures} has a text file of labels there, such as "
                f"{self._label_file(self._paths[0])}"
            )
        self.names: Sequence[str] = class_names(labels) or tuple(otherwise)
        self._lonely = self._without_picture()

    def __len__(self) -> int:
        """Return the number of pictures plus the number of label files without a picture."""
        return len(self._paths) + len(self._lonely)

    def __iter__(self) -> Iterator[LabelledExample]:
        """Yield the pictures, and then the label files without a picture."""
        for number, path in enumerate(self._paths):
            name = str(path.relative_to(self._pictures))
            yield LabelledExample(number, name, self._boxes(self._label_file(path)), str(path))
        missing = f"there is no picture of this name in {self._pictures}"
        for number, path in enumerate(self._lonely, len(self._paths)):
            yield LabelledExample(number, str(path.relative_to(self._labels)), _boxes_of([]), unread=missing)

    def _without_picture(self) -> list[Path]:
        known = {self._label_file(path) for path in self._paths}
        # Beside pictures there may also be notes and lists of files: they are no labels.
        return [
            path
            for path in files_below(self._labels, frozenset({LABELS}))
            if path not in known and path.suffix == LABELS and path.name not in NAME_LISTS and _has_labels(path)
        ]

    def _label_file(self, picture: Path) -> Path:
        return (self._labels / picture.relative_to(self._pictures)).with_suffix(LABELS)

    def _boxes(self, path: Path) -> LabelledBoxes:
        rows: list[tuple[float, ...]] = []
        for number, line in enumerate(self._lines(path), 1):
            row = _row(line, len(self.names))
            if row:
                rows.append(row)
            elif line.strip():
                self.notes.add("lines of labels that cannot be read, skipped", f"{path.name}:{number}")
        return _boxes_of(rows)

    def _lines(self, path: Path) -> list[str]:
        try:
            data = content(path, LARGEST + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.notes.add(f"files of labels that cannot be read ({error.strerror}), treated as empty", path.name)
            return []
        if len(data) > LARGEST:
            self.notes.add("files of labels larger than 1 MiB, treated as empty", path.name)
            return []
        return data.decode("utf-8", "replace").splitlines()


def _boxes_of(rows: Sequence[tuple[float, ...]]) -> LabelledBoxes:
    table = np.array(rows, np.float64).reshape(-1, 5)
    return LabelledBoxes(table[:, 1:], table[:, 0].astype(np.int64), np.zeros(len(table), np.bool_), fractions=True)


def _has_labels(path: Path) -> bool:
    """Return whether a text file is a label file: some line is a box, or all lines are blank."""
    try:
        lines = content(path, LARGEST).decode("utf-8", "replace").splitlines()
    except OSError:
        return True
    return not any(map(str.strip, lines)) or any(_row(line, sys.maxsize) for line in lines)


def _row(line: str, classes: int) -> tuple[float, ...] | None:
    """Return class and corners; None for anything else."""
    words = line.split()
    try:
        number, *values = int(float(words[0])), *map(float, words[1:])
    except (ValueError, OverflowError, IndexError):
        return None
    if not all(abs(value) <= MAX_FRACTION for value in values) or not 0 <= number < max(classes, 1):
        return None
    if len(values) in (4, 5):  # the fifth one is the score of a model
        x, y, width, height = values[:4]
        return number, x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        return number, min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    return None


def class_names(labels: Path) -> tuple[str, ...]:
    """Return the names of the classes from the first file that has them; empty without one. Raises `InputError`."""
    for path in name_files(labels):
        if path.name in NAME_LISTS and path.is_file():
            return parse_labels(content(path, LARGEST + 1), str(path))
        if path.is_file() and (names := _from_yaml(path)):
            return names
    return ()


def _from_yaml(path: Path) -> tuple[str, ...]:
    document = read_document(path)
    if document.value is None:
        raise InputError(f"{path}:{document.problems[0].line}: {document.problems[0].text}")
    names = document.value.get("names")
    if isinstance(names, dict):
        numbers = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        names = (
            [numbers.get(number, str(number)) for number in range(max(numbers, default=-1) + 1)]
            if (max(numbers, default=0) < LARGEST)
            else []
        )
    return tuple(str(getattr(name, "text", name)) for name in names) if isinstance(names, list) else ()
