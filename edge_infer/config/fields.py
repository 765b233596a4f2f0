"""Kinds of values in a YAML file: what each accepts, in words for the operator and as JSON Schema for editors.

A kind goes into ``Annotated[...]`` of a field of a `Section`. Kinds raise ValueError with a whole sentence of what was
expected; `Section` makes the rest of the sentences (unknown and missing keys). What a plain word in YAML means is for
the kind to say: a `text` takes ``007`` as it is written, a `number` does not take ``"0.5"`` in quotes.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from edge_infer.config.units import format_duration, parse_duration, parse_pixels, parse_size
from edge_infer.config.words import Written, in_quotes, shown
from edge_infer.messages import NAME_PATTERN

TOLD: Final = "told"
"""The type of an error whose message is already a sentence of ours."""


class ProblemAtError(ValueError):
    """Something wrong at ``path`` below the value that is being looked at."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of value: ``parse`` makes it of what YAML gave or raises ValueError; ``json`` is its JSON Schema.

    ``write`` is the way back: how a default is written in a file.
    """

    parse: Callable[[Any], Any]
    json: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Any], Any] = lambda value: value

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(self.json)


@dataclass(frozen=True, eq=False)
class Short:
    """A shorter way to write a section or list: ``convert`` makes the long form of it, or hands back what it got."""

    convert: Callable[[Any], Any]
    json: Mapping[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.convert, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        inner = handler(schema)
        options = [option for option in inner.get("anyOf", [inner]) if option != {"type": "null"}]
        options += [] if self.json is None else [dict(self.json)]
        return options[0] if len(options) == 1 else {"anyOf": options}


class Section(BaseModel):
    """A mapping of the file with fixed keys; any other key is an error that suggests the right one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        found: dict[str, Any] = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for key, item in cls.model_fields.items():
            properties[key].pop("title", None)
            properties[key].pop("default", None)
            default = written_default(item)
            properties[key] |= {} if default is None else {"default": default}
            properties[key] |= {"description": " ".join((item.description or "").split())} if item.description else {}
        return found

    @model_validator(mode="wrap")
    @classmethod
    def _say_it_in_words(cls, value: Any, handler: Any) -> Any:
        if not isinstance(value, (dict, cls)):
            raise ValueError(f"expected keys ({', '.join(cls.model_fields)}), not {shown(value)}")  # noqa: TRY004
        try:
            return handler(value)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            extra = [str(found["loc"][0]) for found in errors if _is(found, "extra_forbidden")]
            meant = {close for key in extra for close in difflib.get_close_matches(key, cls.model_fields, 1)}
            told = [found for found in errors if not (_is(found, "missing") and found["loc"][0] in meant)]
            details = [cls._detail(found) for found in told]  # a misspelt key is not missing as well
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def _detail(cls, error: Any) -> InitErrorDetails:
        """The error with a sentence of ours; an error of a section further down already has one."""
        path, text = error["loc"], None
        if _is(error, "extra_forbidden"):
            text = unknown(str(path[0]), cls.model_fields)
        elif _is(error, "missing"):
            examples = cls.model_fields[str(path[0])].examples
            text = "is missing" + (f"; for example {path[0]}: {as_yaml(examples[0])}" if examples else "")
        elif error["type"] == "value_error":
            cause = error["ctx"]["error"]
            path += getattr(cause, "path", ())
            text = str(cause)
        elif error["type"] != TOLD:
            text = in_words(error)
        kind = PydanticCustomError(TOLD, "{text}", {"text": text or error["msg"]})
        return InitErrorDetails(type=kind, loc=path, input=None)  # no input: it shows up in tracebacks


def _is(error: Any, kind: str) -> bool:
    """Whether an error is of this type and about a key of the section itself."""
    return error["type"] == kind and len(error["loc"]) == 1


def written_default(item: FieldInfo) -> Any:
    """What a file would say to get the default of a field; None where leaving the key out is the only way."""
    default = item.get_default(call_default_factory=True)
    if item.is_required() or default is None or default == () or isinstance(default, (Section, dict)):
        return None
    kind = next((kind for kind in item.metadata if isinstance(kind, Kind)), None)
    return kind.write(default) if kind else default


def as_yaml(value: Any) -> str:
    """A value in one line of YAML, where words need no quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def in_words(error: Mapping[str, Any]) -> str:
    """A sentence for an error of pydantic's own types."""
    expected = {
        "string_type": "a text",
        "bool_type": "true or false",
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a number",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "names with a colon and their keys",
        "literal_error": f"one of {error.get('ctx', {}).get('expected', '')}".replace("'", ""),
        "greater_than_equal": f"at least {error.get('ctx', {}).get('ge')}",
        "less_than_equal": f"at most {error.get('ctx', {}).get('le')}",
        "greater_than": f"more than {error.get('ctx', {}).get('gt')}",
        "less_than": f"less than {error.get('ctx', {}).get('lt')}",
        "string_pattern_mismatch": f"a text of the form {error.get('ctx', {}).get('pattern')}",
        "too_short": f"at least {error.get('ctx', {}).get('min_length')} items",
        "too_long": f"at most {error.get('ctx', {}).get('max_length')} items",
    }.get(error["type"])
    return wrong(expected, error["input"]) if expected else str(error["msg"])


def wrong(expected: str, value: Any) -> str:
    """``expected …, not …``, with the remedy where a number is in quotes or a key has no value."""
    remedy = ""
    if isinstance(value, str) and in_quotes(value) and "number" in expected:
        remedy = " (without quotes)"
    elif value is None:
        remedy = "; leave the key out for the default"
    return f"expected {expected}, not {shown(value)}{remedy}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` did you mean "x"?`` or what there is to choose from."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, 1, 0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    shortened = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"known: {shortened}" if names else "there is none"


def unknown(key: str, known: Iterable[str]) -> str:
    """The sentence for a key that is not of this section."""
    return f"is not known here; {suggestion(key, known)}"


def text(expected: str, pattern: str = r"[^\x00-\x1f\x7f]+", most: int = 256) -> Kind:
    """A text that matches as a whole; numbers are taken as they are written."""

    def parse(value: Any) -> str:
        found = value.text if isinstance(value, Written) else value
        if isinstance(found, bool) or not isinstance(found, str):
            quoted = f'; in quotes it is text: "{shown(value)}"' if isinstance(value, bool) else ""
            raise ValueError(wrong(expected, value) + quoted)  # noqa: TRY004
        if len(found) > most:
            raise ValueError(f"expected {expected} of at most {most} characters, not {len(found)}")
        if not re.fullmatch(pattern, found):
            raise ValueError(wrong(expected, value))
        return str(found)

    return Kind(parse, {"type": ["string", "number"], "pattern": f"^(?:{pattern})$", "maxLength": most})


def number(low: float, high: float) -> Kind:
    """A number between the two, both included."""
    expected = f"a number between {low:g} and {high:g}"

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(wrong(expected, value))  # noqa: TRY004
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(wrong(expected, value))
        return float(value)

    return Kind(parse, {"type": "number", "minimum": low, "maximum": high})


def integer(low: int, high: int) -> Kind:
    """A whole number between the two, both included."""
    expected = f"a whole number between {low} and {high}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(wrong(expected, value))
        return int(value)

    return Kind(parse, {"type": "integer", "minimum": low, "maximum": high})


def flag() -> Kind:
    """True or false, in the words of YAML 1.2."""

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(wrong("true or false", value))  # noqa: TRY004
        return value

    return Kind(parse, {"type": "boolean"})


def choice(*options: str | int) -> Kind:
    """One of a few words or numbers."""
    expected = f"one of {', '.join(map(str, options))}"

    def parse(value: Any) -> str | int:
        for option in options:
            if not isinstance(value, bool) and value == option and isinstance(value, type(option)):
                return option
        close = difflib.get_close_matches(value, [str(option) for option in options], 1) if type(value) is str else []
        raise ValueError(wrong(expected, value) + (f'; did you mean "{close[0]}"?' if close else ""))

    return Kind(parse, {"enum": list(options)})


def duration(low: str, high: str) -> Kind:
    """Seconds, from a number or a text such as ``10s``, between the two."""
    expected = f"a duration between {low} and {high}, such as 500ms, 10s, 5m, 2h or a number of seconds"

    def parse(value: Any) -> float:
        try:
            found = parse_duration(value)
        except ValueError:
            found = math.nan
        if not parse_duration(low) <= found <= parse_duration(high):
            raise ValueError(wrong(expected, value))
        return found

    json = [{"type": "number", "minimum": parse_duration(low), "maximum": parse_duration(high)}]
    written = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}
    return Kind(parse, {"anyOf": [*json, written]}, format_duration)


def size(low: int, high: int) -> Kind:
    """Bytes, from a number or a text such as ``64M``, between the two."""
    expected = f"a size between {low} and {high} bytes, as a number or such as 4K or 64M"

    def parse(value: Any) -> int:
        try:
            found = parse_size(value)
        except ValueError:
            found = -1
        if not low <= found <= high:
            raise ValueError(wrong(expected, value))
        return found

    json = [{"type": "integer", "minimum": low, "maximum": high}]
    return Kind(parse, {"anyOf": [*json, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?[KMG]?$"}]})


def pixels() -> Kind:
    """Width and height of ``640x480``, each from 16 to 8192."""
    expected = "WIDTHxHEIGHT with both between 16 and 8192, such as 640x480"

    def parse(value: Any) -> tuple[int, int]:
        try:
            found = parse_pixels(value)
        except ValueError:
            found = (0, 0)
        if not all(16 <= side <= 8192 for side in found):
            raise ValueError(wrong(expected, value))
        return found

    return Kind(parse, {"type": "string", "pattern": "^[0-9]+x[0-9]+$"}, lambda found: f"{found[0]}x{found[1]}")


def url(*schemes: str) -> Kind:
    """An address of one of the schemes, without a password in it (which no message repeats)."""
    expected = f"an address such as {schemes[0]}://HOST/PATH"

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(wrong(expected, value))  # noqa: TRY004
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            parts = urlsplit("")
        if ":" in parts.netloc.rpartition("@")[0]:
            raise ValueError(
                f"a password does not belong into this file: write {parts.scheme}://HOST/PATH, and give username and "
                "password_file (the path of a file that holds nothing but the password)"
            )
        if parts.scheme.lower() not in schemes or not parts.hostname or re.search(r"[\x00-\x20\x7f]", value):
            scheme = f" (it begins with {parts.scheme}:)" if parts.scheme and parts.scheme not in schemes else ""
            raise ValueError(f"expected {expected}{scheme}")
        return str(value)

    return Kind(parse, {"type": "string", "pattern": f"^(?:{'|'.join(schemes)})://[^:@/]+(@|:[0-9]+(/|$)|/|$)"})


COORDINATE: Final = number(0, 1)


def polygon_point(value: Any) -> tuple[float, float]:
    """A corner ``[x, y]`` in fractions of the frame."""
    try:
        x, y = (COORDINATE.parse(part) for part in (value if isinstance(value, list) else ()))
    except ValueError as error:
        raise ValueError(wrong("a point [x, y] in fractions of the frame, both between 0 and 1", value)) from error
    return x, y


def written_as_is(value: Any) -> Any:
    """Any value, as plain JSON types: for what is passed on to a plug-in."""
    if isinstance(value, dict):
        return {str(key): written_as_is(item) for key, item in value.items()}
    if isinstance(value, list):
        return [written_as_is(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


NAME: Final = text("a name of letters, digits, _ and - (at most 64, the first a letter or digit)", NAME_PATTERN, 10_000)
PATH: Final = text("the path of a file", most=4096)
Name = Annotated[str, NAME]
Path = Annotated[str, PATH]
Label = Annotated[str, text("a label", most=128)]
Anything = Annotated[Any, Kind(written_as_is)]
