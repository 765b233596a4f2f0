"""Bounds-checked reader of flatbuffers, for untrusted files.

The parsers of the runtimes trust offsets, and only one runtime comes with schema modules. Format:
https://flatbuffers.dev/internals/ - all numbers little-endian, a table points back to a vtable of field offsets.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from edge_infer.errors import ModelError

LONGEST_TEXT: Final = 1 << 16
MOST_ITEMS: Final = 4_000_000
"""Maximum number of table and vector items read from one file. Vectors may overlap, so the file size does not limit
this number."""
_UINT16: Final = struct.Struct("<H")
_INT32: Final = struct.Struct("<i")
_UINT32: Final = struct.Struct("<I")


class _Data:
    """The bytes of a file, with checked access and a limited number of items."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = MOST_ITEMS

    def unpack(self, form: struct.Struct, at: int) -> Any:
        if at < 0 or at + form.size > len(self.data):
            raise ModelError(f"the file is damaged or cut off: it points to byte {at} of {len(self.data)}")
        return form.unpack_from(self.data, at)[0]

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Return start and item count of the vector that the offset at ``at`` points to."""
        start = at + int(self.unpack(_UINT32, at))
        count = int(self.unpack(_UINT32, start))
        if start + 4 + count * size > len(self.data):
            raise ModelError(f"the file is damaged or cut off: a list of {count} items at byte {start} ends beyond it")
        return start + 4, count

    def spend(self, items: int) -> None:
        self.left -= items
        if self.left < 0:
            raise ModelError(f"the file is damaged: its lists have more than {MOST_ITEMS} items")


class Table:
    """One table of a flatbuffer. Fields are numbered in schema order; an absent field has the default value.

    Every method raises `ModelError` if an offset points outside the file.
    """

    __slots__ = ("_at", "_data", "_vtable", "_vtable_size")

    def __init__(self, data: _Data, at: int) -> None:
        data.spend(1)
        self._data, self._at = data, at
        self._vtable = at - int(data.unpack(_INT32, at))
        self._vtable_size = int(data.unpack(_UINT16, self._vtable))

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Table:
        """Return the root table of a file with ``identifier`` in bytes 4 to 8."""
        if data[4:8] != identifier:
            raise ModelError(f"bytes 4 to 8 are {data[4:8]!r} instead of {identifier!r}")
        checked = _Data(data)
        return cls(checked, int(checked.unpack(_UINT32, 0)))

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a scalar of the struct module's format ``form``."""
        at = self._position(field)
        return default if at is None else int(self._data.unpack(struct.Struct("<" + form), at))

    def text(self, field: int) -> str:
        """Return a string, at most `LONGEST_TEXT` bytes of it, with invalid UTF-8 replaced."""
        return self.content(field)[:LONGEST_TEXT].decode("utf-8", "replace")

    def content(self, field: int) -> bytes:
        """Return a vector of bytes."""
        at = self._position(field)
        if at is None:
            return b""
        start, count = self._data.vector(at, 1)
        self._data.spend(count // 64)
        return self._data.data[start : start + count]

    def bytes_at(self, start: int, size: int) -> bytes:
        """Return bytes of the file that lie outside all tables."""
        if start + size > len(self._data.data):
            raise ModelError(f"the file is damaged or cut off: it points to byte {start + size}")
        self._data.spend(size // 64)
        return self._data.data[start : start + size]

    def numbers(self, field: int, form: str) -> tuple[Any, ...]:
        """Return a vector of scalars of the struct module's format ``form``."""
        at = self._position(field)
        if at is None:
            return ()
        start, count = self._data.vector(at, struct.calcsize("<" + form))
        self._data.spend(count)
        return struct.unpack_from(f"<{count}{form}", self._data.data, start)

    def length(self, field: int) -> int:
        """Return the number of items of a vector without reading them."""
        at = self._position(field)
        return 0 if at is None else self._data.vector(at, 1)[1]

    def table(self, field: int) -> Table | None:
        """Return the table that the field points to."""
        at = self._position(field)
        return None if at is None else Table(self._data, at + int(self._data.unpack(_UINT32, at)))

    def tables(self, field: int) -> tuple[Table, ...]:
        """Return a vector of tables."""
        at = self._position(field)
        if at is None:
            return ()
        start, count = self._data.vector(at, 4)
        self._data.spend(count)
        places = range(start, start + 4 * count, 4)
        return tuple(Table(self._data, place + int(self._data.unpack(_UINT32, place))) for place in places)

    def _position(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_size:
            return None
        offset = int(self._data.unpack(_UINT16, self._vtable + slot))
        return self._at + offset if offset else None
