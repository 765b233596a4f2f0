"""Parse rows of numbers from text: CSV as sensors and spreadsheets write it, and JSON."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from edge_infer.plan.credentials import without_passwords

Row: TypeAlias = tuple[float, ...]
Format: TypeAlias = Literal["csv", "json", "any"]

DELIMITERS: Final = (";", ",", "\t")
"""Delimiters in order of priority; a line without any of them is split at spaces."""
NAME: Final = r"[^\W\d]"
"""Pattern for the first character of a column name in a header; anything else is garbage."""
NO_VALUES: Final = frozenset(
    {
        *("NA", "N/A", "n/a", "NULL", "Null", "null", "NIL", "nil", "NONE", "None", "none"),
        "True",
        "true",
        "False",
        "false",
    }
)
"""Words that programs write in place of a number. `na` and `Na` are not listed, because they may name a column
(sodium)."""
_COMMENT: Final = re.compile(r"#(?!(?:N/A|VALUE!|DIV/0!|NUM!|REF!|NAME\?|NULL!))")
"""The beginning of a comment. Error values of spreadsheets, such as `#N/A`, do not match."""
_QUOTED: Final = re.compile(r'"[^"]*"')
_COMMA: Final = re.compile(r"[-+]?[0-9]+,[0-9]+(?:[eE][-+]?[0-9]+)?")
"""A number with a decimal comma or a thousands comma."""
_BLANK: Final = re.compile(r"\s+(?![\[(])")
"""The space between two cells of a line without delimiters. The space before a unit, as in `x [rad]`, does not
match."""
SHOWN: Final = 60
TOO_LARGE: Final = (2 - 2**-24) * 2.0**127
"""The smallest number that rounds to infinity as a 32-bit float, the input type of the models."""


class WordsError(ValueError):
    """A line of words that is no header. ``instead``: it has as many cells as a row, so one row is missing.

    Otherwise the line is a message of the sensor, and no row is missing.
    """

    def __init__(self, text: str, *, instead: bool) -> None:
        super().__init__(text)
        self.instead = instead


class HeaderError(ValueError):
    """A header lacks wanted columns or has one twice, so no later line can be used."""


class RowParser:
    """Parses lines into rows with the cells of ``columns``, in that order.

    Without ``columns``, the header or the first row sets the number and order of the cells.

    In CSV a line of names is a header, see `_read_header`. Columns are then found by name, and without a header by
    position. A row has as many cells as the header, the columns, or the first row. An empty cell after a trailing
    separator is ignored if the number of cells is known. JSON may be an object (columns are its keys, ``a.b`` for
    nested ones), a list, one number, or a list of objects or lists.
    """

    def __init__(self, columns: Sequence[str] = (), form: Format = "csv") -> None:
        self.columns = tuple(columns)
        self.header: tuple[str, ...] | None = None
        self._chosen = bool(columns)
        self._form = form
        self._places: tuple[int, ...] | None = None
        self._width = len(self.columns)
        self._begun = False
        self._delimiter = ""  # of the last header or row; a delimiter inside a cell does not change it
        self._unknown = ""  # why no row can be used until another header

    def rows(self, text: str) -> list[Row]:
        """Return the rows of one line; empty for a header or comment. Raises ValueError with the fault of the line."""
        rows: list[Row] = []
        for found in self.each(text):
            if isinstance(found, ValueError):
                raise found
            rows.append(found)
        return rows

    def each(self, text: str) -> list[Row | ValueError]:
        """Return the rows of one line like `rows`; a ValueError stands in the place of each unusable row."""
        text = text.lstrip("\ufeff")
        line = text.strip()
        if not line or _COMMENT.match(line):
            return []
        try:
            if self._form == "json" or (self._form == "any" and line[0] in "[{"):
                return [self._row_or_reason(value) for value in _json_values(line, self._width)]
            row = self._of_csv(text.strip(" \r\n") if self.cells else line)  # a tab at either end may stand for a cell
            return [] if row is None else [self._fitting(row)]
        except ValueError as error:
            return [error]

    def _row_or_reason(self, value: Any) -> Row | ValueError:
        try:
            return self._fitting(self._of_value(value))
        except ValueError as error:
            return error

    @property
    def cells(self) -> int:
        """Return the number of cells in a line; 0 if unknown."""
        return self._width if self.header is None else len(self.header)

    def _fitting(self, row: Row) -> Row:
        if not row:
            raise ValueError("a row without values")
        if not self._width:
            self._width = len(row)
        if len(row) != self._width:
            raise ValueError(f"{count(len(row))}, but expected {self._width}")
        self._begun = True
        return row

    def _of_csv(self, line: str) -> Row | None:
        delimiter = delimiter_of(line, self._delimiter)
        cells = cells_of(line, delimiter)
        if not any(map(is_number, cells)):
            self._read_header(cells[:-1] if len(cells) > 1 and not cells[-1] else cells, delimiter)
            return None
        self._begun = True
        if self._unknown:
            raise ValueError(self._unknown)
        expected = self.cells
        if len(cells) == expected + 1 and not cells[-1]:
            cells = cells[:-1]
        if expected and len(cells) != expected:
            raise ValueError(f"{count(len(cells))}, but expected {expected}")
        self._delimiter = delimiter
        places = range(len(cells)) if self._places is None else self._places
        return tuple(number(cells[place], self._name(index)) for index, place in enumerate(places))

    def _read_header(self, cells: Sequence[str], delimiter: str) -> None:
        """Read a header, before the first row or later: a sensor repeats its header when it is switched on.

        A later header must contain a known name. The header must also have separators, and as many cells as before; if
        it names all wanted columns, one of these two conditions is enough.
        """
        wanted = self.columns or tuple(cells)
        times = Counter(cells)
        missing = [name for name in wanted if name not in times]
        twice = [name for name in dict.fromkeys(wanted) if times[name] > 1]
        signs = (bool(delimiter), len(cells) == self.cells)
        likely = any(signs) if self.columns and not missing else all(signs)
        self._require_names(cells, delimiter, likely=likely)
        if (missing or twice) and not self._chosen and (not self._begun or len(cells) == self._width):
            wanted, missing, twice = tuple(cells), [], []
        if missing or twice:
            lacks = f"no column {' or '.join(missing)}" if missing else f"more than one column {' or '.join(twice)}"
            reason = f"{lacks} in the header {shown(', '.join(cells))}"
            if likely:
                self._unknown = reason
            raise ValueError(reason) if self._begun else HeaderError(reason)
        self.columns = wanted
        self.header = tuple(cells)
        whole = wanted == self.header  # by position, because a name may occur twice
        self._places = tuple(range(len(cells)) if whole else map(cells.index, wanted))
        self._width = len(wanted)
        self._delimiter = delimiter
        self._unknown = ""

    def _require_names(self, cells: Sequence[str], delimiter: str, *, likely: bool) -> None:
        """Raise ValueError or `WordsError` if a line without numbers is no header.

        Words are no names if all of several cells contain the same word, or if all mean "no value" (`NO_VALUES`),
        unless one of them is a known name. Before the first row, a line counts as a new header if its number of cells
        differs from that of the first header, and if it has separators where the first header has some. Other later
        lines count only under the conditions of `_read_header`; otherwise they are lines of words.
        """
        names, instead = set(cells), len(cells) == self.cells
        known = not names.isdisjoint((*self.columns, *(self.header or ())))
        named = names - NO_VALUES and (len(names) > 1 or len(cells) == 1)
        problem = f"no numbers in {shown(', '.join(cells))}{_about_comma(cells)}"
        if not all(re.match(NAME, cell) for cell in cells) or not (known or named):
            raise ValueError(problem)
        later = self._begun or (self.header is not None and (instead or bool(self._delimiter and not delimiter)))
        if later and not (known and likely):
            raise WordsError(problem, instead=instead)

    def _name(self, place: int) -> str:
        return self.columns[place] if place < len(self.columns) else str(place + 1)

    def _of_value(self, value: Any) -> Row:
        if isinstance(value, dict):
            if not self.columns:
                self.columns = tuple(key for key, item in value.items() if type(item) in (int, float))
                if not self.columns:
                    raise ValueError(f"no numbers among the keys {shown(', '.join(value))}; name some in `columns`")
            return tuple(number(member(value, name), name) for name in self.columns)
        items = value if isinstance(value, list) else [value]
        return tuple(number(item, self._name(place)) for place, item in enumerate(items))


def _json_values(line: str, width: int) -> list[Any]:
    """Return the rows in a line of JSON: the items of a list, or the one value. ``width`` is 0 if unknown.

    A list of plain values is one row; with one column, each value is a row.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {shown(line)}") from error
    several = isinstance(value, list) and (width == 1 or any(isinstance(item, (list, dict)) for item in value))
    return value if several and value else [value]


def delimiter_of(line: str, usual: str = "") -> str:
    """Return the delimiter of a line, preferably ``usual``; empty if the line is split at spaces."""
    plain = _QUOTED.sub("", line) if '"' in line else line
    return next((found for found in (usual, *DELIMITERS) if found and found in plain), "")


def cells_of(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, without surrounding spaces and quotes."""
    if not delimiter and '"' not in line:
        return _BLANK.split(line.strip())
    try:
        found = next(csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True))
        return [cell.strip() for cell in found if cell or delimiter]
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"no CSV: {shown(line)}") from error


def member(value: Any, name: str) -> Any:
    """Return an object's value for a key, or for ``a.b`` that of a nested object; raises ValueError."""
    if isinstance(value, dict) and name in value:
        return value[name]
    first, dot, rest = name.partition(".")
    if dot and isinstance(value, dict) and first in value:
        return member(value[first], rest)
    keys = ", ".join(map(str, value)) if isinstance(value, dict) else str(value)
    raise ValueError(f"column {name} is missing; known: {shown(keys) if keys else 'none'}")


def number(value: Any, name: str) -> float:
    """Return a number that a 32-bit float can hold; raises ValueError."""
    if value is None or value == "":
        raise ValueError(f"column {name} is empty")
    try:
        found = float("nan" if isinstance(value, bool) or not _is_plain(value) else value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not is_usable(found):
        why = "too large for a 32-bit float" if math.isfinite(found) else "not a number"
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        raise ValueError(f"column {name} contains {shown(text)}, {why}{_about_comma((text,))}")
    return found


def is_usable(value: float) -> bool:
    """Return whether a value is finite, and stays so as a 32-bit float."""
    return abs(value) < TOO_LARGE


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, including NaN and infinity."""
    try:
        float(cell)
    except ValueError:
        return False
    return _is_plain(cell)


def _is_plain(value: Any) -> bool:
    """Return False for a text that only Python reads as a number, such as `1_5` or digits of other scripts."""
    return not isinstance(value, str) or (value.isascii() and "_" not in value)


def _about_comma(cells: Sequence[str]) -> str:
    """Return the remedy if a cell is a number with a comma, as the end of a sentence; else an empty text."""
    return "; numbers have a decimal point and no comma" if any(map(_COMMA.fullmatch, cells)) else ""


def count(columns: int) -> str:
    """Return a number of columns in words."""
    return f"{columns} column{'' if columns == 1 else 's'}"


def shown(text: str) -> str:
    """Return the beginning of a device's text, escaped for the log, without the password of its source."""
    text = without_passwords(text)
    return ascii(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
