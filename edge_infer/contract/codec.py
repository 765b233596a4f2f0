"""Converts records to JSON and back, strictly: all processes validate with the same closed schema, by `msgspec`.

The annotations of a `Record` are its schema. `decode` rejects unknown keys, missing keys and numbers that are not
finite. `schema` prints the same definition as JSON Schema, so the documented schema is the enforced schema. Constraints
that annotations cannot express are checked in ``__post_init__`` of a record, which raises ValueError.

Rules:
- ``None`` is written as ``null``.
- ``ABSENT`` omits the key.
- A trailing underscore of a field name is not part of the key (``class_`` becomes ``"class"``).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from edge_infer.errors import WireError

# msgspec would load typing_extensions without using it. That takes 1 MB and loads _socket, which the engine may not
# import. No other module imports msgspec before this one.
if _missing := "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
try:
    import msgspec
    from msgspec import UNSET, Meta, MsgspecError, UnsetType, ValidationError, field
    from msgspec.structs import asdict
finally:
    if _missing:
        del sys.modules["typing_extensions"]

__all__ = [
    "ABSENT",
    "FREE_MEMORY",
    "MAX_MEMORY_FACTOR",
    "Absent",
    "FrameRecord",
    "JsonValue",
    "Meta",
    "OneOf",
    "PartlyCompared",
    "RawJson",
    "Record",
    "ShortText",
    "StoredRecord",
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
    "without_defaults",
]
T = TypeVar("T")

if TYPE_CHECKING:
    JsonValue = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
else:
    JsonValue = Any  # as a field type: any JSON value, unchanged

RawJson: TypeAlias = msgspec.Raw
"""A part of a JSON text that is not decoded yet. It is a view of the text, for `decode_json`."""
Absent: TypeAlias = UnsetType
ABSENT: Final = UNSET
"""Value of a field that is absent from the JSON; it is false in conditions."""


def _key(name: str) -> str:
    return name.rstrip("_")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_key):
    """Data for another process, the broker or the disk; the decoder validates it."""


class StoredRecord(Record, frozen=True, forbid_unknown_fields=False):
    """Data on the disk. Unknown keys, which a newer version wrote, are ignored when it is decoded.

    Use it only where ignoring unknown keys is safe: the known keys still refuse, hold back or pause at least as much.
    Other stored records stay strict. A plan may have an unknown restriction. Results of trials and drift references can
    be produced again. The files of the publisher are not trusted.
    """


class FrameRecord(msgspec.Struct, frozen=True):
    """Data that is made for every frame and stays in its process. It is never encoded, so its types are not checked.

    msgspec makes it in C, in a tenth of the time of a frozen dataclass, which calls ``object.__setattr__`` for each
    field.
    """


class PartlyCompared(Record, frozen=True, eq=False):
    """A record whose equality ignores the fields in ``not_compared``."""

    not_compared: ClassVar[frozenset[str]] = frozenset()

    def __eq__(self, other: object) -> bool:
        return other is self or (type(other) is type(self) and self._compared() == other._compared())

    def __ne__(self, other: object) -> bool:
        return not self == other  # msgspec's own comparison uses identity here

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in self.not_compared)


class _Members(type):
    """Metaclass of `OneOf`: an instance of any record in ``by_key`` counts as an instance of the class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, tuple(cls.__dict__["by_key"].values()))


class OneOf(metaclass=_Members):
    """Field type for one of several untagged records. A key that only one of the records has decides the type.

    ``by_key`` maps each such key to its record, in order. The empty key stands for the record that has none of these
    keys. (msgspec requires a tag in each record of a union.)
    """

    by_key: ClassVar[Mapping[str, type[Record]]] = {}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """Return the record; raise `msgspec.ValidationError` if the value does not fit."""
        key = next((key for key in cls.by_key if isinstance(value, dict) and key in value), "")
        return msgspec.convert(value, cls.by_key[key])


def matching(pattern: str, most: int) -> Meta:
    """Return a constraint: the pattern matches the whole string, which has at most ``most`` characters."""
    return Meta(max_length=most, pattern=f"^(?:{pattern}){_END}")


def at_most(most: int) -> Meta:
    """Return a constraint: at most this many characters of a string, items of a list or keys of a mapping."""
    return Meta(max_length=most)


def at_least(low: float) -> Meta:
    """Return a constraint: the lower limit of a number, inclusive."""
    return Meta(ge=low)


def between(low: float, high: float) -> Meta:
    """Return a constraint: the limits of a number, both inclusive."""
    return Meta(ge=low, le=high)


ShortText = Annotated[str, at_most(256)]


def replace(item: T, **changes: Any) -> T:
    """Return a copy of a record or dataclass with other values in some fields."""
    if isinstance(item, msgspec.Struct):
        return msgspec.structs.replace(item, **changes)
    return dataclasses.replace(item, **changes)  # type: ignore[type-var]


def check_decimals(most: int, *values: object) -> None:
    """Raise ValueError for a number with more than ``most`` decimals, which carry no information but could hide some.

    Values that are not floats pass. From 2**53 on every float is a whole number, and scaling it could overflow. If the
    scaled number is above 2**53, a float cannot have such decimals; the comparison with `round` covers that case.
    """
    scale = _SCALES[most]
    for value in values:
        if value.__class__ is not float:
            continue
        if -_LEAST_WHOLE < value < _LEAST_WHOLE:
            if round(value * scale) / scale != value != round(value, most):
                raise ValueError(f"{value} has more than {most} decimals")
        elif not math.isfinite(value):
            raise ValueError(f"{value} is not finite")


_LEAST_WHOLE: Final = 2.0**53
_SCALES: Final = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
_END: Final = "(?!\n)$"
"""End of a pattern. Python's ``$`` alone would also match before a final line feed."""
MAX_MEMORY_FACTOR: Final = 8
FREE_MEMORY: Final = 16 << 20
_COSTS: Final = {b",": 72, b"[": 80, b":": 96, b"{": 192}
"""Maximum bytes that CPython allocates for the value that each of these characters starts (lists, dicts, short
strings)."""
_FREE_BYTES: Final = FREE_MEMORY // 128
"""Maximum bytes of JSON that takes at most `FREE_MEMORY` to decode, whatever it contains."""
_MARKS: Final = re.compile(rb'\\.|[",:\[{]', re.DOTALL)
_PLACE: Final = " - at `"
_KEY: Final = "key` in `"
"""Separators in msgspec's errors, before the position of the fault or of a key. The position is a path that begins with
``$``."""


def _plain(value: object) -> JsonValue:
    """Return the built-in value of a subclass of int, float or str, such as a NumPy number, which msgspec rejects."""
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain)


def dumps(value: object) -> bytes:
    """Return a record or a JSON value as compact JSON in UTF-8. Numbers that are not finite become ``null``."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, MsgspecError) as error:
        raise WireError(f"a value has no JSON form: {error}") from error


def loads(data: bytes) -> JsonValue:
    """Return the value of a JSON text; raises `WireError` for anything else."""
    try:
        value: JsonValue = msgspec.json.decode(data)
    except (MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    return value


def joined(parts: list[bytes]) -> bytes:
    """Join the ``parts`` of an untrusted JSON text and empty the list.

    The memory for decoding the result is limited to `MAX_MEMORY_FACTOR` times its size, or to `FREE_MEMORY` if that is
    more. Raises `WireError` if decoding would take more.
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
    """Return the memory in bytes that the values of a JSON text take, without the characters of strings.

    Counting stops above ``enough``. Counting takes constant memory, because the input may be crafted to exhaust memory.
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
    """Return the JSON value of a record."""
    return loads(dumps(record))


def without_defaults(value: Any) -> Any:
    """Return the JSON value of a record without the keys that have the default of their field.

    An older version, which does not know such a key, can then read the record unless the key is really used.

    Rule: never change the default of a stored field. Files on devices leave out a value that is the default, so their
    meaning would change. Add a new key instead.
    """
    if isinstance(value, msgspec.Struct):
        found = {key: without_defaults(getattr(value, name)) for name, key, _ in _fields(type(value))}
        return {key: found[key] for _, key, default in _fields(type(value)) if found[key] != default}
    if isinstance(value, Mapping):
        return {key: without_defaults(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [without_defaults(each) for each in value]
    return value


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Return name, JSON key and default (as `without_defaults` returns it) of each field; NODEFAULT: required."""
    found = []
    for each in msgspec.structs.fields(kind):
        factory = each.default_factory
        default = each.default if factory is msgspec.NODEFAULT else factory()
        found.append((each.name, each.encode_name, without_defaults(default)))
    return tuple(found)


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_one_of)


def _one_of(kind: type[Any], value: Any) -> Any:
    assert issubclass(kind, OneOf)
    return kind.from_json(value)


def decode_json(kind: type[T], data: bytes | memoryview | RawJson, where: str = "") -> T:
    """Decode JSON to a record of type ``kind``; raises `WireError`, which names the key that does not fit."""
    try:
        record: T = _decoder(kind).decode(data)  # type: ignore[arg-type]  # every type can be hashed
    except ValidationError as error:
        raise WireError(_described(str(error), where or kind.__name__)) from error
    except (MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    return record


def decode(kind: type[T], value: JsonValue, where: str = "") -> T:
    """Decode a JSON value to a record or dataclass of type ``kind``; raises `WireError` like `decode_json`."""
    try:
        data = json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"{where or kind.__name__}: {error}") from error
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):  # types of other packages; records are strict
        for key in value.keys() - {field.name for field in dataclasses.fields(kind)}:
            raise WireError(f"{where or kind.__name__}: object contains unknown field `{key}`")
    return decode_json(kind, data, where)


def _described(error: str, where: str) -> str:
    """Return a msgspec error with the position first: ``Result.objects[3].box: expected `array`, got `int```."""
    reason, _, suffix = error.rpartition(_PLACE)  # no regular expression: the sender may have chosen the text
    path = suffix.removeprefix(_KEY)
    if reason and path.startswith("$") and path.endswith("`"):
        place = where + path[1:-1] + (" key" if path != suffix else "")
    else:
        place, reason = where, error
    return f"{place}: {reason[:1].lower()}{reason[1:]}"


def schema(kind: type[Any], title: str = "") -> dict[str, JsonValue]:
    """Return the JSON Schema (draft 2020-12) of a record type, from the definition that `decode` enforces."""
    whole = msgspec.json.schema(kind)
    body = _inline(whole, whole["$defs"])
    assert isinstance(body, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": title or kind.__name__}


def _inline(part: Any, records: Mapping[str, Any]) -> Any:
    """Return a part of a schema with its records inlined; each has the first line of its description."""
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
