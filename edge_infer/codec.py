"""Frozen dataclasses to JSON and back, strictly: the closed schema that every wall checks with.

The annotations of a record are its schema. ``decode`` accepts exactly what they say (no unknown key, no missing key,
no number that is not finite) and `schema` prints the same definition as JSON Schema, so that what is documented is
what is enforced. This is a module of our own because the publisher must not load pydantic (22 MB of memory a room).

Rules: ``None`` is written as ``null``; ``ABSENT`` leaves the key out; a trailing underscore of a field name is not
part of the key (``class_`` is ``"class"``).
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from edge_infer.errors import WireError

T = TypeVar("T")

if TYPE_CHECKING:
    JsonValue = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
else:
    JsonValue = Any  # as a field type: whatever a JSON text can hold, taken as it is


class Absent(enum.Enum):
    """The type of `ABSENT`, which counts as false."""

    ABSENT = "absent"

    def __bool__(self) -> Literal[False]:
        """So that a subscriber may write ``if result.replay``."""
        return False


ABSENT: Final = Absent.ABSENT
"""A field with this value has no key on the wire."""


@dataclass(frozen=True, slots=True)
class Text:
    """Limits of a string: at most ``most`` characters, and a regular expression for the whole of it."""

    pattern: str = ""
    most: int = 256


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, both included."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Decimals:
    """The most decimals of a number: what is beyond them tells nothing, and could carry something."""

    most: int


@dataclass(frozen=True, slots=True)
class Size:
    """The most items of a list or keys of a mapping."""

    most: int


DEFAULT_TEXT: Final = Text()
MAX_MEMORY_FACTOR: Final = 8
FREE_MEMORY: Final = 16 << 20
_COSTS: Final = {",": 72, "[": 80, ":": 96, "{": 192}
"""Bytes that CPython needs at most for the value that such a mark begins, as lists, dicts and short strings have it."""
_FREE_TEXT: Final = FREE_MEMORY // 128
"""Bytes of a text that cannot take more, whatever its values are."""
_MARKS: Final = re.compile(r'\\.|[",:\[{]', re.DOTALL)
_COMPACT: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_LARGEST: Final = 1 << 1023
"""A JSON text may spell out integers that no float reaches."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
"""What an escape of JSON may spell out alone, and nobody could say again."""
_PLAIN: Final = frozenset((str, float, int, bool, type(None)))
_Where: TypeAlias = "str | tuple[_Where, str | int]"
"""Where a value is: a name, then step by step a key, with its dot, or a place in a list."""


def dumps(value: JsonValue) -> bytes:
    """Compact UTF-8 JSON; refuses NaN and infinity, which JSON does not know."""
    try:
        return _COMPACT.encode(value).encode()
    except ValueError as error:
        raise WireError(f"a value has no JSON form: {error}") from error


def loads(data: bytes) -> JsonValue:
    """The value of a JSON text; raises `WireError` for anything else."""
    try:
        text = str(data, "utf-8")  # of bytes it would guess another encoding
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from error
    return _value(text)


def loads_bounded(parts: list[bytes]) -> JsonValue:
    """`loads` of the joined ``parts``, which it empties, for a text of somebody who may want to exhaust the memory.

    It takes at most `MAX_MEMORY_FACTOR` times the bytes of the text, or `FREE_MEMORY` where that is more; raises
    `WireError` for a text that would take more.
    """
    if len(parts) == 1 and len(parts[0]) <= _FREE_TEXT:
        return loads(parts.pop())
    size = sum(map(len, parts))
    try:
        text = b"".join(parts).decode()  # no name for the bytes: they are gone before the values come
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from error
    finally:
        parts.clear()
    strings = text.__sizeof__() if not text.isascii() or "\\u" not in text else 4 * len(text)
    left = max(MAX_MEMORY_FACTOR * size, FREE_MEMORY) - text.__sizeof__() - strings
    if sum(cost * text.count(mark) for mark, cost in _COSTS.items()) > left and _cost(text, left) > left:
        raise WireError(f"{size} bytes of JSON hold too many values")
    return _value(text)


def _cost(text: str, enough: int) -> int:
    """Bytes that the values of a JSON text take beside the letters of its strings; counts no further than ``enough``.

    In constant memory, because what it looks at was made to exhaust it.
    """
    cost, quoted = 0, False
    for found in _MARKS.finditer(text):
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif not quoted:
            cost += _COSTS.get(mark, 0)
            if cost > enough:
                break
    return cost


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    return value


def encode(record: object) -> JsonValue:
    """The JSON value of a record."""
    kind: type[Any] = type(record)
    if kind in _PLAIN:
        return record  # type: ignore[return-value]
    if (known := _keys(kind)) is not None:  # type: ignore[arg-type]  # every type can be hashed
        keys, values = known
        found: dict[str, JsonValue] = {}
        for key, value in zip(keys, values(record), strict=False):
            if value is not ABSENT:
                found[key] = value if type(value) in _PLAIN else encode(value)
        return found
    if isinstance(record, (list, tuple)):
        return [encode(item) for item in record]
    if isinstance(record, Mapping):
        return {str(key): encode(value) for key, value in record.items()}
    if record is None or isinstance(record, (bool, int, float, str)):
        return record
    raise WireError(f"{type(record).__name__} has no JSON form")


def decode(kind: type[T], value: JsonValue, where: str = "") -> T:
    """The record of type ``kind`` that ``value`` spells out; raises `WireError` naming the key that does not fit."""
    form = _form(kind)
    result: T = form.read(form, value, where or kind.__name__)
    return result


def _place(where: _Where) -> str:
    """The path in words: ``Result.objects[3].box``. It is put together for whoever has to read it only."""
    steps: list[str] = []
    while isinstance(where, tuple):
        where, step = where
        steps.append(step if isinstance(step, str) else f"[{step}]")
    return where + "".join(reversed(steps))


@cache
def _keys(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]] | None:
    """Keys of the fields of a record, and what gets their values; None for what is none."""
    if not dataclasses.is_dataclass(kind):
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    values = attrgetter(*names, "__class__", "__class__")  # of less than two names it would give no tuple
    return tuple(name.rstrip("_") for name in names), values


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """An annotation, taken apart once: ``read`` is what decodes it, ``parts`` the forms of what is in it."""

    read: Callable[[_Form, Any, _Where], Any]
    kind: Any
    parts: tuple[_Form, ...] = ()
    limits: tuple[Any, ...] = ()
    null: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    """Of a record: by key the name of each field, the step to it, and its form; and which keys it must have."""

    by_key: dict[str, tuple[str, str, _Form]]
    required: frozenset[str]


@cache
def _fields(kind: Any) -> _Fields:
    """The fields of a record; taken apart on the first use, because a record may hold its like."""
    hints, missing = _hints(kind), dataclasses.MISSING
    named = {field.name.rstrip("_"): field for field in dataclasses.fields(kind)}
    return _Fields(
        {key: (field.name, f".{key}", _form(hints[field.name])) for key, field in named.items()},
        frozenset(key for key, field in named.items() if field.default is missing and field.default_factory is missing),
    )


def _form(kind: Any, limits: tuple[Any, ...] = ()) -> _Form:
    if kind is Any:
        return _Form(_take, kind)
    if dataclasses.is_dataclass(kind):
        return _Form(_decode_record, kind)
    origin = get_origin(kind)
    if origin is Annotated:
        kind, *own = get_args(kind)
        origin, limits = get_origin(kind), (*own, *limits)
    items = get_args(kind)
    if origin in (Union, types.UnionType):
        options = tuple(_form(item, limits) for item in items if item not in (Absent, type(None)))
        return _Form(_decode_union, kind, options, null=type(None) in items)
    if origin is Literal:
        return _Form(_decode_literal, kind, limits=items)
    if origin is tuple and len(items) == 2 and items[1] is Ellipsis:
        return _Form(_decode_list, kind, (_form(items[0]),), limits)
    if origin is tuple:
        return _Form(_decode_tuple, kind, tuple(map(_form, items)))
    if origin is not None and issubclass(origin, Mapping):
        return _Form(_decode_mapping, kind, tuple(map(_form, items)), limits)
    if kind is str:
        text = next((own for own in limits if isinstance(own, Text)), DEFAULT_TEXT)
        pattern = re.compile(text.pattern, re.ASCII) if text.pattern else None  # JSON Schema's \d are ten digits
        return _Form(_decode_text, kind, limits=(text.most, pattern))
    return _Form(_decode_plain, kind, limits=tuple(own for own in limits if isinstance(own, (Range, Decimals))))


def _take(_form: _Form, value: Any, _where: _Where) -> Any:
    return value


def _decode_record(form: _Form, value: Any, where: _Where) -> Any:
    if not isinstance(value, dict):
        raise WireError(f"{_place(where)}: expected an object, not {type(value).__name__}")
    fields, found = _fields(form.kind), {}
    for key, item in value.items():
        field = fields.by_key.get(key)
        if field is None:
            raise WireError(f"{_place(where)}: unknown key {key!r}")
        name, step, inner = field
        found[name] = inner.read(inner, item, (where, step))
    if not fields.required <= value.keys():
        missing = next(key for key in fields.by_key if key in fields.required and key not in value)
        raise WireError(f"{_place(where)}: key {missing!r} is missing")
    try:
        return form.kind(**found)
    except ValueError as error:
        raise WireError(f"{_place(where)}: {error}") from error


def _decode_union(form: _Form, value: Any, where: _Where) -> Any:
    if value is None:
        if form.null:
            return None
        raise WireError(f"{_place(where)}: null is not allowed")
    reasons = []
    for option in form.parts:
        try:
            return option.read(option, value, where)
        except WireError as error:
            reasons.append(str(error))
    if len(reasons) == 1:
        raise WireError(reasons[0])
    raise WireError(f"{_place(where)}: fits none of its forms: " + "; ".join(reasons))


def _decode_literal(form: _Form, value: Any, where: _Where) -> Any:
    for option in form.limits:
        if value == option and type(value) is type(option):
            return value
    raise WireError(f"{_place(where)}: {value!r} is not one of {', '.join(map(repr, form.limits))}")


def _decode_list(form: _Form, value: Any, where: _Where) -> Any:
    if not isinstance(value, list):
        raise WireError(f"{_place(where)}: expected a list, not {type(value).__name__}")
    _check_size(len(value), where, form.limits)
    (part,) = form.parts
    return tuple([part.read(part, item, (where, index)) for index, item in enumerate(value)])


def _decode_tuple(form: _Form, value: Any, where: _Where) -> Any:
    if not isinstance(value, list):
        raise WireError(f"{_place(where)}: expected a list, not {type(value).__name__}")
    if len(form.parts) != len(value):
        raise WireError(f"{_place(where)}: expected {len(form.parts)} items, not {len(value)}")
    pairs = zip(form.parts, value, strict=True)
    return tuple([part.read(part, item, (where, index)) for index, (part, item) in enumerate(pairs)])


def _decode_mapping(form: _Form, value: Any, where: _Where) -> Any:
    if not isinstance(value, dict):
        raise WireError(f"{_place(where)}: expected an object, not {type(value).__name__}")
    _check_size(len(value), where, form.limits)
    key_form, item_form = form.parts
    return {
        key_form.read(key_form, key, (where, " key")): item_form.read(item_form, item, (where, f".{key}"))
        for key, item in value.items()
    }


def _check_size(size: int, where: _Where, limits: tuple[Any, ...]) -> None:
    for limit in limits:
        if isinstance(limit, Size) and size > limit.most:
            raise WireError(f"{_place(where)}: {size} items are more than {limit.most}")


def _decode_plain(form: _Form, value: Any, where: _Where) -> Any:
    kind = form.kind
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < _LARGEST else math.inf
    if type(value) is not kind:
        raise WireError(f"{_place(where)}: expected {kind.__name__}, not {type(value).__name__}")
    if kind is float and not math.isfinite(value):
        raise WireError(f"{_place(where)}: {value} is not finite")
    for limit in form.limits:
        if isinstance(limit, Range):
            if not limit.low <= value <= limit.high:
                raise WireError(f"{_place(where)}: {value} is not within {limit.low:g}..{limit.high:g}")
        elif value != round(value, limit.most):
            raise WireError(f"{_place(where)}: {value} has more than {limit.most} decimals")
    return value


def _decode_text(form: _Form, value: Any, where: _Where) -> Any:
    if type(value) is not str:
        raise WireError(f"{_place(where)}: expected str, not {type(value).__name__}")
    most, pattern = form.limits
    if len(value) > most:
        raise WireError(f"{_place(where)}: {len(value)} characters are more than {most}")
    if pattern is not None and not pattern.fullmatch(value):
        raise WireError(f"{_place(where)}: {value!r} does not match {pattern.pattern}")
    if not value.isascii() and _SURROGATES.search(value):
        raise WireError(f"{_place(where)}: {value!a} has half a character, which has no UTF-8")
    return value


def schema(kind: type[Any], title: str = "") -> dict[str, JsonValue]:
    """The JSON Schema (draft 2020-12) of a record type, from the definition that `decode` enforces."""
    body = _schema(kind, ())
    assert isinstance(body, dict)
    described: dict[str, JsonValue] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**described, **body, "title": title or kind.__name__}


def _schema(kind: Any, limits: tuple[Any, ...]) -> JsonValue:
    if kind is Any:
        return True
    if dataclasses.is_dataclass(kind):
        return _schema_record(kind)
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *more = get_args(kind)
        return _schema(inner, tuple(more))
    if origin in (Union, types.UnionType):
        options = [_schema(option, limits) for option in get_args(kind) if option is not Absent]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if origin is tuple:
        return _schema_tuple(get_args(kind), limits)
    if origin is not None and issubclass(origin, Mapping):
        key_kind, item_kind = get_args(kind)
        found: dict[str, JsonValue] = {"type": "object", "additionalProperties": _schema(item_kind, ())}
        found["propertyNames"] = _schema(key_kind, ())
        return found | _size_schema("maxProperties", limits)
    return _schema_plain(kind, limits)


def _size_schema(key: str, limits: tuple[Any, ...]) -> dict[str, JsonValue]:
    bounds: list[JsonValue] = [limit.most for limit in limits if isinstance(limit, Size)]
    return {key: bounds[0]} if bounds else {}


def _schema_record(kind: Any) -> JsonValue:
    hints = _hints(kind)
    required: list[JsonValue] = []
    properties: dict[str, JsonValue] = {}
    for field in dataclasses.fields(kind):
        key = field.name.rstrip("_")
        properties[key] = _schema(hints[field.name], ())
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(key)
    return {
        "title": kind.__name__,  # generators name classes by it
        "description": (kind.__doc__ or "").strip().splitlines()[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema_tuple(items: tuple[Any, ...], limits: tuple[Any, ...]) -> JsonValue:
    if len(items) == 2 and items[1] is Ellipsis:
        found: dict[str, JsonValue] = {"type": "array", "items": _schema(items[0], ())}
        return found | _size_schema("maxItems", limits)
    count = len(items)
    return {"type": "array", "prefixItems": [_schema(item, ()) for item in items], "minItems": count, "maxItems": count}


def _schema_plain(kind: Any, limits: tuple[Any, ...]) -> JsonValue:
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    found: dict[str, JsonValue] = {"type": names[kind]}
    for limit in (*limits, *(() if kind is not str or limits else (DEFAULT_TEXT,))):
        if isinstance(limit, Text):
            found["maxLength"] = limit.most
            if limit.pattern:
                found["pattern"] = f"^(?:{limit.pattern})$"
        if isinstance(limit, Range):
            found |= {
                key: bound for key, bound in (("minimum", limit.low), ("maximum", limit.high)) if math.isfinite(bound)
            }
    return found
