"""Labelled rows of a CSV file with column names in its first line.

- ``label`` is the class. For a regression there is a column with the name of each value of the model.
- The input is a ``file`` (or ``image``), a ``text``, or the numbers of all other columns.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

from edge_infer.errors import InputError
from edge_infer.evaluate.examples import (
    Label,
    LabelledClass,
    LabelledExample,
    LabelledValues,
    NoteCounter,
    PictureFolder,
    Truth,
)
from edge_infer.plan.records import ModelPlan, TextPlan
from edge_infer.platform.paths import open_regular

LABEL: Final = "label"
FILES: Final = ("file", "image", "filename")
TEXT: Final = "text"
DELIMITERS: Final = (",", ";", "\t")
LONGEST_CELL: Final = 1 << 20
MAX_CLASSES: Final = 20_000


class TableFile:
    """The rows of a table; each pass reads them again."""

    def __init__(self, path: Path, folder: PictureFolder, plan: ModelPlan) -> None:
        """Read the header, the classes and the number of rows; raises `InputError`."""
        self.notes = NoteCounter()
        self._path, self._folder = path, folder
        csv.field_size_limit(LONGEST_CELL)
        with self._open() as stream:
            header = self._header(stream)
        self._places = {name: place for place, name in enumerate(header)}
        self._file = next((name for name in FILES if name in self._places), None)
        self._values = _values(path, header, plan)
        self.truth: Truth = "values" if self._values else "class"
        if self._file is None and isinstance(plan.input, TextPlan) and TEXT not in self._places:
            raise InputError(f"{path}:1: the model takes text; name a column text, or file")
        self._text = TEXT if self._file is None and isinstance(plan.input, TextPlan) else None
        self.in_rows = self._file is None and self._text is None
        used = {LABEL, *self._values}
        self._numbers = [place for name, place in self._places.items() if name not in used]
        self._count, self.names = self._look()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    def __iter__(self) -> Iterator[LabelledExample]:
        """Yield the rows; a row that cannot be read is skipped and noted."""
        places = {name: place for place, name in enumerate(self.names)}
        for number, (line, row) in enumerate(self._rows()):
            name = f"{self._path.name}:{line}"
            label = self._label(row, places)
            if label is None:
                self.notes.add("rows without a readable label, skipped", name)
            elif self._file is not None:
                file = row[self._places[self._file]]
                yield LabelledExample(number, file, label, self._folder.find(file))
            elif self._text is not None:
                text = row[self._places[TEXT]]
                if text.strip():
                    yield LabelledExample(number, name, label, text=text)
                else:
                    self.notes.add("rows without a text, skipped", name)
            elif (numbers := _numbers([row[place] for place in self._numbers])) is None:
                self.notes.add("rows with values that are not numbers, skipped", name)
            else:
                yield LabelledExample(number, name, label, row=numbers)

    def _label(self, row: list[str], places: dict[str, int]) -> Label | None:
        if not self._values:
            return LabelledClass(places[row[self._places[LABEL]]]) if row[self._places[LABEL]] in places else None
        found = _numbers([row[self._places[column]] for column in self._values.values()])
        return None if found is None else LabelledValues(tuple(zip(self._values, found, strict=True)))

    def _look(self) -> tuple[int, Sequence[str]]:
        """Return the number of rows and the classes in them."""
        names: dict[str, None] = {}
        count = 0
        for count, (_, row) in enumerate(self._rows(), 1):  # noqa: B007 - the number of the last one is used
            if not self._values and row[self._places[LABEL]]:
                names[row[self._places[LABEL]]] = None
            if len(names) > MAX_CLASSES:
                raise InputError(f"{self._path}: more than {MAX_CLASSES} different labels; is {LABEL} the class?")
        return count, tuple(sorted(names))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with its line number."""
        with self._open() as stream:
            self._header(stream)
            reader = csv.reader(stream, delimiter=self._delimiter)
            try:
                for row in reader:
                    if len(row) == len(self._places):
                        yield reader.line_num + 1, row
                    elif row:
                        raise InputError(
                            f"{self._path}:{reader.line_num + 1}: {len(row)} cells, but {len(self._places)} columns"
                        )
            except csv.Error as error:
                raise InputError(f"{self._path}:{reader.line_num + 1}: not a row of a CSV file: {error}") from error

    def _open(self) -> TextIO:
        try:
            stream = open_regular(self._path)
            if stream is None:
                raise InputError(f"{self._path}: not a regular file")
            stream.close()
            return self._path.open(encoding="utf-8-sig", errors="replace", newline="")
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror or error}") from error

    def _header(self, stream: TextIO) -> list[str]:
        """Return the names of the columns; the next line is the first row."""
        try:
            line = stream.readline(LONGEST_CELL)
            self._delimiter = next((found for found in DELIMITERS if found in line), DELIMITERS[0])
            header = next(csv.reader([line], delimiter=self._delimiter), [])
        except csv.Error as error:
            raise InputError(f"{self._path}:1: not the header of a CSV file: {error}") from error
        names = [name.strip() for name in header]
        if not names or len(set(names)) != len(names) or "" in names:
            raise InputError(
                f"{self._path}:1: the first line has to name every column, and no name twice, for example file,label"
            )
        return names


def _values(path: Path, header: list[str], plan: ModelPlan) -> dict[str, str]:
    """Return the column of each value of a regression; empty for other tasks. Raises `InputError`."""
    if plan.task != "regression":
        if LABEL not in header:
            raise InputError(f"{path}:1: there is no column {LABEL}; the columns are {', '.join(header[:8])}")
        return {}
    names = [value.name for value in plan.values]
    if missing := [name for name in names if name not in header]:
        if len(names) == 1 and LABEL in header:
            return {names[0]: LABEL}
        raise InputError(f"{path}:1: there is no column {missing[0]}, a value of the model")
    return {name: name for name in names}


def _numbers(cells: list[str]) -> tuple[float, ...] | None:
    try:
        found = tuple(map(float, cells))
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
