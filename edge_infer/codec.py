"""Records to JSON and back, strictly: the closed schema that every process checks with, by `msgspec`.

The annotations of a `Record` are its schema. `decode` accepts exactly what they say (no unknown key, no missing key, no
number that is not finite) and `schema` prints the same definition as JSON Schema, so that what is documented is what is
enforced. What annotations cannot say stands in a record's ``__post_init__``, which raises ValueError.

Rules: ``None`` is written as ``null``; ``ABSENT`` leaves the key out; a trailing underscore of a field name is not
part of the key (``class_`` is ``"class"``).
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from edge_infer.errors import WireError

# msgspec would load typing_extensions, which it does not need: that takes 1 MB, and loads _socket, which the engine may
# not have. Other modules import nothing of msgspec before this one.
if _missing := "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
try:
    import msgspec
    from msgspec import UNSET, Meta, MsgspecError, UnsetType, ValidationError, field
    from msgspec.structs import asdict
finally:
    if _missing:
        del sys.modules["typing_extensions"]

# fmt: off
__all__ = [
    "ABSENT",
    "FREE_MEMORY",
    "MAX_MEMORY_FACTOR",
    "Absent",
    "JsonValue",
    "OneOf",
    "PartlyCompared",
    "Record",
    "ShortText",
    "asdict",
    "at_least",
    "at_most",
    "between",
    "check_decimals",
    "decode",
    "decode_json",
    "dumps",
    "encode",
    "field",
    "joined",
    "loads",
    "matching",
    "replace",
    "schema",
]
# fmt: on
T = TypeVar("T")

if TYPE_CHECKING:
    JsonValue = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
else:
    JsonValue = Any  # as a field type: whatever a JSON text can hold, taken as it is

Absent: TypeAlias = UnsetType
ABSENT: Final = UNSET
"""A field with this value has no key on the wire; it counts as false."""


def _key(name: str) -> str:
    return name.rstrip("_")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_key):
    """What crosses to another process, to the broker or to the disk. It is checked where it is decoded."""


class PartlyCompared(Record, frozen=True, eq=False):
    """A record whose fields in ``not_compared`` do not count for its equality."""

    not_compared: ClassVar[frozenset[str]] = frozenset()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in self.not_compared)


class _Members(type):
    """Of a `OneOf`: each of its records is an instance."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, tuple(cls.__dict__["by_key"].values()))


class OneOf(metaclass=_Members):
    """As the type of a field: one of several records without a mark, by a key that only one of them must have.

    ``by_key`` gives the record for each such key, in order; that of the empty one is what has none of them. (Where
    msgspec sees a union of records it wants a mark in each.)
    """

    by_key: ClassVar[Mapping[str, type[Record]]] = {}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """Return the record; raise `msgspec.ValidationError` where it does not fit."""
        key = next((key for key in cls.by_key if isinstance(value, dict) and key in value), "")
        return msgspec.convert(value, cls.by_key[key])


def matching(pattern: str, most: int) -> Meta:
    """The whole of a string matches, and it has at most ``most`` characters."""
    return Meta(max_length=most, pattern=f"^(?:{pattern}){_END}")


def at_most(most: int) -> Meta:
    """The most characters of a string, items of a list or keys of a mapping."""
    return Meta(max_length=most)


def at_least(low: float) -> Meta:
    """The lower limit of a number, included."""
    return Meta(ge=low)


def between(low: float, high: float) -> Meta:
    """The limits of a number, both included."""
    return Meta(ge=low, le=high)


ShortText = Annotated[str, at_most(256)]


def replace(item: T, **changes: Any) -> T:
    """A record, or a dataclass, with other values in some fields."""
    if isinstance(item, msgspec.Struct):
        return msgspec.structs.replace(item, **changes)
    return dataclasses.replace(item, **changes)  # type: ignore[type-var]


def check_decimals(most: int, *values: object) -> None:
    """Raise ValueError for a number with more decimals: what is beyond them tells nothing, and could carry something.

    What is no float passes. Beyond 2**53 steps a float has no such decimals, and `round` knows by how many it differs.
    """
    scale = _SCALES[most]
    for value in values:
        if value.__class__ is float and round(value * scale) / scale != value != round(value, most):
            raise ValueError(f"{value} has more than {most} decimals")


_SCALES: Final = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
_END: Final = "(?!\n)$"
"""Of a pattern: Python's ``$`` would also match before a last line feed."""
MAX_MEMORY_FACTOR: Final = 8
FREE_MEMORY: Final = 16 << 20
_COSTS: Final = {b",": 72, b"[": 80, b":": 96, b"{": 192}
"""Bytes that CPython needs at most for the value that such a mark begins, as lists, dicts and short strings have it."""
_FREE_BYTES: Final = FREE_MEMORY // 128
"""Bytes of JSON that cannot take more, whatever its values are."""
_MARKS: Final = re.compile(rb'\\.|[",:\[{]', re.DOTALL)
_PLACE: Final = re.compile(r" - at `(key` in `)?\$(.*)`$")
"""How msgspec's errors end."""


def _plain(value: object) -> JsonValue:
    """The plain value of a class derived from its type, such as a number of NumPy, which msgspec does not know."""
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain)


def dumps(value: object) -> bytes:
    """Compact UTF-8 JSON of a record or of what JSON knows; a number that is not finite is ``null``."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, MsgspecError) as error:
        raise WireError(f"a value has no JSON form: {error}") from error


def loads(data: bytes) -> JsonValue:
    """The value of a JSON text; raises `WireError` for anything else."""
    try:
        value: JsonValue = msgspec.json.decode(data)
    except (MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    return value


def joined(parts: list[bytes]) -> bytes:
    """The whole of the ``parts``, which it empties, of JSON by somebody who may want to exhaust the memory.

    To decode it takes at most `MAX_MEMORY_FACTOR` times its bytes, or `FREE_MEMORY` where that is more; raises
    `WireError` where it would take more.
    """
    data = parts.pop() if len(parts) == 1 else b"".join(parts)
    parts.clear()
    size = len(data)
    if size > _FREE_BYTES:
        strings = 4 * size if b"\\u" in data or not data.isascii() else size
        left = max(MAX_MEMORY_FACTOR * size, FREE_MEMORY) - size - strings
        if sum(cost * data.count(mark) for mark, cost in _COSTS.items()) > left and _cost(data, left) > left:
            raise WireError(f"{size} bytes of JSON hold too many values")
    return data


def _cost(data: bytes, enough: int) -> int:
    """Bytes that the values of JSON take beside the letters of its strings; counts no further than ``enough``.

    In constant memory, because what it looks at was made to exhaust it.
    """
    cost, quoted = 0, False
    for found in _MARKS.finditer(data):
        mark = found[0]
        if mark == b'"':
            quoted = not quoted
        elif not quoted:
            cost += _COSTS.get(mark, 0)
            if cost > enough:
                break
    return cost


def encode(record: object) -> JsonValue:
    """The JSON value of a record."""
    return loads(dumps(record))


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_one_of)


def _one_of(kind: type[Any], value: Any) -> Any:
    assert issubclass(kind, OneOf)
    return kind.from_json(value)


def decode_json(kind: type[T], data: bytes | memoryview, where: str = "") -> T:
    """The record of type ``kind`` that JSON spells out; raises `WireError` naming the key that does not fit."""
    try:
        record: T = _decoder(kind).decode(data)  # type: ignore[arg-type]  # every type can be hashed
    except ValidationError as error:
        raise WireError(_described(str(error), where or kind.__name__)) from error
    except (MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    return record


def decode(kind: type[T], value: JsonValue, where: str = "") -> T:
    """The same of a JSON value."""
    try:
        data = json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"{where or kind.__name__}: {error}") from error
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):  # of another package; a record is strict itself
        for key in value.keys() - {field.name for field in dataclasses.fields(kind)}:
            raise WireError(f"{where or kind.__name__}: object contains unknown field `{key}`")
    return decode_json(kind, data, where)


def _described(error: str, where: str) -> str:
    """An error of msgspec with the place first: ``Result.objects[3].box: expected `array`, got `int```."""
    found = _PLACE.search(error)
    place = where + (found[2] + (" key" if found[1] else "") if found is not None else "")
    reason = error[: found.start()] if found is not None else error
    return f"{place}: {reason[:1].lower()}{reason[1:]}"


def schema(kind: type[Any], title: str = "") -> dict[str, JsonValue]:
    """The JSON Schema (draft 2020-12) of a record type, from the definition that `decode` enforces."""
    whole = msgspec.json.schema(kind)
    body = _inline(whole, whole["$defs"])
    assert isinstance(body, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": title or kind.__name__}


def _inline(part: Any, records: Mapping[str, Any]) -> Any:
    """A part of a schema with the records in it, each with the first line of its description."""
    if isinstance(part, list):
        return [_inline(item, records) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        part = records[part["$ref"].rpartition("/")[2]]
    found = {key: _inline(value, records) for key, value in part.items() if key != "$defs"}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(_END, "$")
    if isinstance(found.get("description"), str):
        found["description"] = found["description"].strip().splitlines()[0]
    return found
