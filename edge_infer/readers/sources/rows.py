"""Rows of numbers out of text: CSV as sensors and spreadsheets write it, and JSON."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

Row: TypeAlias = tuple[float, ...]
Format: TypeAlias = Literal["csv", "json", "any"]

DELIMITERS: Final = (";", ",", "\t")
"""The first of these in a line separates its cells; without any of them spaces do."""
NAME: Final = r"[^\W\d]"
"""What a name in a header begins with; anything else is garbage."""
SHOWN: Final = 60


class HeaderError(ValueError):
    """A header has not the columns that are wanted: nothing that follows can be used."""


class RowParser:
    """Turns lines into rows of ``columns``, in that order; without columns the first row or header decides.

    In CSV a line without any number is a header: columns are then found by name, and without a header by their place.
    JSON may be an object (columns are its keys, ``a.b`` for nested ones), a list, one number, or a list of these.
    """

    def __init__(self, columns: Sequence[str] = (), form: Format = "csv") -> None:
        self.columns = tuple(columns)
        self.header: tuple[str, ...] | None = None
        self._form = form
        self._places: tuple[int, ...] | None = None
        self._width = len(self.columns)
        self._begun = False

    def rows(self, text: str) -> list[Row]:
        """The rows of one line, none for a header or comment; raises ValueError that says what is wrong with it."""
        line = text.strip().lstrip("\ufeff")
        if not line or line.startswith("#"):
            return []
        if self._form == "json" or (self._form == "any" and line[0] in "[{"):
            return [self._fitting(row) for row in self._of_json(line)]
        row = self._of_csv(cells_of(line))
        return [] if row is None else [self._fitting(row)]

    def _fitting(self, row: Row) -> Row:
        if not self._width:
            self._width = len(row)
        if len(row) != self._width:
            raise ValueError(f"{count(len(row))} where {self._width} are expected")
        return row

    def _of_csv(self, cells: Sequence[str]) -> Row | None:
        if not any(map(is_number, cells)):
            self._read_header(cells)
            return None
        self._begun = True
        if self._places is None:
            if self.columns and len(cells) != len(self.columns):
                raise ValueError(f"{count(len(cells))} where {len(self.columns)} are expected")
            return tuple(number(cell, self._name(place)) for place, cell in enumerate(cells))
        if len(cells) <= max(self._places):
            raise ValueError(f"column {self._name(self._places.index(max(self._places)))} is missing")
        return tuple(number(cells[place], self._name(index)) for index, place in enumerate(self._places))

    def _read_header(self, cells: Sequence[str]) -> None:
        """Before the first row; and again, because a sensor repeats it when it is switched on."""
        wanted = self.columns or tuple(cells)
        missing = [name for name in wanted if name not in cells]
        again = self._begun and (missing or self.header not in (None, tuple(cells)))
        if again or not all(re.match(NAME, cell) for cell in cells):
            raise ValueError(f"no numbers in {shown(', '.join(cells))}")
        if missing:
            raise HeaderError(f"no column {' or '.join(missing)} in the header {shown(', '.join(cells))}")
        self.columns = wanted
        self.header = tuple(cells)
        self._places = tuple(cells.index(name) for name in wanted)
        self._width = len(wanted)

    def _name(self, place: int) -> str:
        return self.columns[place] if place < len(self.columns) else str(place + 1)

    def _of_json(self, line: str) -> Iterator[Row]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"no JSON: {shown(line)}") from error
        several = isinstance(value, list) and bool(value) and all(isinstance(item, (list, dict)) for item in value)
        for item in value if several else [value]:
            yield self._of_value(item)

    def _of_value(self, value: Any) -> Row:
        if isinstance(value, dict):
            if not self.columns:
                self.columns = tuple(key for key, item in value.items() if type(item) in (int, float))
                if not self.columns:
                    raise ValueError(f"no numbers among the keys {shown(', '.join(value))}; name some in `columns`")
            return tuple(number(member(value, name), name) for name in self.columns)
        items = value if isinstance(value, list) else [value]
        return tuple(number(item, self._name(place)) for place, item in enumerate(items))


def cells_of(line: str) -> list[str]:
    """The cells of a line, without spaces and quotes around them."""
    delimiter = next((found for found in DELIMITERS if found in line), None)
    if delimiter is None:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"no CSV: {shown(line)}") from error


def member(value: Any, name: str) -> Any:
    """What an object holds under a key, or under ``a.b`` an object in it; raises ValueError."""
    if isinstance(value, dict) and name in value:
        return value[name]
    first, dot, rest = name.partition(".")
    if dot and isinstance(value, dict) and first in value:
        return member(value[first], rest)
    keys = ", ".join(map(str, value)) if isinstance(value, dict) else str(value)
    raise ValueError(f"column {name} is missing; there are {shown(keys) if keys else 'none'}")


def number(value: Any, name: str) -> float:
    """A finite number; raises ValueError."""
    if value is None or value == "":
        raise ValueError(f"column {name} is empty")
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"column {name} holds {shown(str(value))}, no number")
    return found


def is_number(cell: str) -> bool:
    """Whether a cell is a number, if only NaN or infinite."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def count(columns: int) -> str:
    """So many columns, in words."""
    return f"{columns} column{'' if columns == 1 else 's'}"


def shown(text: str) -> str:
    """The beginning of what a device sent, safe to log."""
    return ascii(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
