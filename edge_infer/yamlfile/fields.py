"""Kinds of values in a YAML file: the accepted values of each, for error messages and as JSON Schema for editors.

A kind is written into ``Annotated[...]`` of a field of a `Section`. If a value does not fit, the kind raises ValueError
with a sentence that describes the expected value. `Section` adds the sentences for unknown and missing keys. Each kind
defines the meaning of a plain YAML word: a `text` accepts ``007`` unchanged; a `number` does not accept ``"0.5"`` in
quotes.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic_core import core_schema

from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.plan.credentials import PLACE
from edge_infer.yamlfile.error_text import wrong
from edge_infer.yamlfile.scalars import Written, shown
from edge_infer.yamlfile.units import format_duration, format_size, parse_duration, parse_pixels, parse_size


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of value. ``parse`` converts a YAML value or raises ValueError; ``json`` is the JSON Schema of the kind.

    ``write`` is the inverse of ``parse``: it spells a default as in a file.
    """

    parse: Callable[[Any], Any]
    json: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Any], Any] = lambda value: value

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(self.json)


def text(expected: str, pattern: str = r"[^\x00-\x1f\x7f]+", most: int = 256, *, visible: bool = True) -> Kind:
    """Return the kind of a text that matches the whole pattern; a number is accepted as it is written.

    ``visible``: the text is shown on terminals and pages, so it must not contain characters that control them or
    reverse the text direction.
    """

    def parse(value: Any) -> str:
        found = value.text if isinstance(value, Written) else value
        if isinstance(found, bool) or not isinstance(found, str):
            quoted = f'; in quotes it is text: "{shown(value)}"' if isinstance(value, bool) else ""
            raise ValueError(wrong(expected, value) + quoted)  # noqa: TRY004
        if len(found) > most:
            raise ValueError(f"expected {expected} of at most {most} characters, not {len(found)}")
        if not re.fullmatch(pattern, found):
            raise ValueError(wrong(expected, value))
        if visible and (hidden := next((letter for letter in found if not letter.isprintable()), "")):
            raise ValueError(
                f"expected {expected}; it contains the invisible character U+{ord(hidden):04X}: type it again"
            )
        return str(found)

    return Kind(parse, {"type": ["string", "number"], "pattern": f"^(?:{pattern})$", "maxLength": most})


def number(low: float, high: float) -> Kind:
    """Return the kind of a number between two limits, both included."""
    expected = f"a number between {low:g} and {high:g}"

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(wrong(expected, value))  # noqa: TRY004
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(wrong(expected, value))
        return float(value)

    return Kind(parse, {"type": "number", "minimum": low, "maximum": high})


def limit() -> Kind:
    """Return the kind of a score between 0 and 1; larger values up to 1e9 are accepted as well.

    The distance of an anomaly may be larger than 1, and only the model determines the task.
    """
    score = number(0, 1)

    def parse(value: Any) -> float:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if plain and 1 < value <= 1e9 else float(score.parse(value))

    return Kind(parse, {"type": "number", "minimum": 0, "maximum": 1e9})


def integer(low: int, high: int) -> Kind:
    """Return the kind of a whole number between two limits, both included."""
    expected = f"a whole number between {low} and {high}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(wrong(expected, value))
        return int(value)

    return Kind(parse, {"type": "integer", "minimum": low, "maximum": high})


def flag() -> Kind:
    """Return the kind of ``true`` or ``false``, in the spelling of YAML 1.2."""

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(wrong("true or false", value))  # noqa: TRY004
        return value

    return Kind(parse, {"type": "boolean"})


def choice(*options: str | int) -> Kind:
    """Return the kind of a few fixed words or numbers."""
    expected = f"one of {', '.join(map(str, options))}"

    def parse(value: Any) -> str | int:
        for option in options:
            if not isinstance(value, bool) and value == option and isinstance(value, type(option)):
                return option
        close = difflib.get_close_matches(value, [str(option) for option in options], 1) if type(value) is str else []
        raise ValueError(wrong(expected, value) + (f'; did you mean "{close[0]}"?' if close else ""))

    return Kind(parse, {"enum": list(options)})


def duration(low: str, high: str) -> Kind:
    """Return the kind of a duration in seconds, from a number or a text such as ``10s``, between two limits."""
    examples = "500ms, 10s, 5m, 2h" if parse_duration(low) < parse_duration("2h") else "7d"
    expected = f"a duration between {low} and {high}, such as {examples} or a number of seconds"

    def parse(value: Any) -> float:
        try:
            found = parse_duration(value)
        except ValueError:
            found = math.nan
        if not parse_duration(low) <= found <= parse_duration(high):
            raise ValueError(wrong(expected, value))
        return found

    json = [{"type": "number", "minimum": parse_duration(low), "maximum": parse_duration(high)}]
    written = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|y)$"}
    return Kind(parse, {"anyOf": [*json, written]}, format_duration)


def size(low: int, high: int) -> Kind:
    """Return the kind of a size in bytes, from a number or a text such as ``64M``, between two limits."""
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
    return Kind(parse, {"anyOf": [*json, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?[KMG]?$"}]}, format_size)


def pixels() -> Kind:
    """Return the kind of width and height such as ``640x480``, each from 16 to 8192."""
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


SECRETS: Final = frozenset(
    {"password", "passwd", "passphrase", "pass", "pwd", "psw", "pw", "secret", "token", "access_token", "apikey"}
)
"""Names of keys with secret values in the query of a URL."""


def _no_secret(query: str) -> None:
    for key, told in parse_qsl(query):
        if key.lower() in SECRETS and told != PLACE:
            raise ValueError(
                f"a password does not belong in this file: write {key}={PLACE} there, and set password_file "
                "(the path of a file that contains only the password)"
            )


def url(*schemes: str) -> Kind:
    """Return the kind of an address with one of the schemes and without a password. No message repeats a password."""
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
                f"a password does not belong in this file: write {parts.scheme}://HOST/PATH, and set username and "
                "password_file (the path of a file that contains only the password)"
            )
        _no_secret(parts.query)
        if parts.scheme.lower() not in schemes or not parts.hostname or re.search(r"[\x00-\x20\x7f]", value):
            scheme = f" (it begins with {parts.scheme}:)" if parts.scheme and parts.scheme not in schemes else ""
            raise ValueError(f"expected {expected}{scheme}")
        return str(value)

    return Kind(parse, {"type": "string", "pattern": f"^(?:{'|'.join(schemes)})://[^:@/]+(@|:[0-9]+(/|$)|/|$)"})


COORDINATE: Final = number(0, 1)


def polygon_point(value: Any) -> tuple[float, float]:
    """Return a corner ``[x, y]`` in fractions of the frame."""
    try:
        x, y = (COORDINATE.parse(part) for part in (value if isinstance(value, list) else ()))
    except ValueError as error:
        raise ValueError(wrong("a point [x, y] in fractions of the frame, both between 0 and 1", value)) from error
    return x, y


def written_as_is(value: Any) -> Any:
    """Convert any value to plain JSON types, for a plug-in."""
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
