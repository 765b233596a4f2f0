"""Values of plain words in a YAML file, by the core schema of YAML 1.2. The original text is kept.

PyYAML would convert ``on``, ``yes``, ``12:30`` and ``0o17`` by the rules of YAML 1.1. This module reads a word as null,
true, false or a number only where YAML 1.2 does. A number keeps its spelling, so that a field for text receives ``007``
and not ``7``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, Final

INTEGER: Final = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
REAL: Final = re.compile(r"[-+]?(?:\.[0-9]{1,100}|[0-9]{1,100}(?:\.[0-9]{0,100})?)(?:[eE][-+]?[0-9]{1,10})?")
SPECIAL: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
VARIABLE: Final = re.compile(r"\$?\$\{([^}]*)\}?")


class Written:
    """A number that keeps its ``text``. ``written`` is the spelling that messages may show."""

    text: str
    written: str


class WrittenInt(int, Written):
    """A whole number with its spelling."""


class WrittenFloat(float, Written):
    """A number with its spelling."""


class Expanded(str):
    """A text in which environment variables were expanded. Messages show ``written``, the text before the expansion."""

    __slots__ = ("written",)
    written: str


def resolve(word: str, written: str | None = None) -> Any:
    """Return the value of a plain (unquoted) word. ``written`` is the word before variables were expanded."""
    if word in NULL:
        return None
    if word in BOOLEAN:
        return BOOLEAN[word]
    found: WrittenInt | WrittenFloat
    if INTEGER.fullmatch(word):
        found = WrittenInt(int(word, 0) if word[:2] in ("0o", "0x") else int(word))
    elif REAL.fullmatch(word):
        found = WrittenFloat(word)
    elif SPECIAL.fullmatch(word):
        found = WrittenFloat(word.replace(".", "", 1))
    else:
        return word
    found.text, found.written = word, word if written is None else written
    return found


def expand(word: str, environment: Mapping[str, str], variables: Container[str] | None = None) -> str:
    """Return the text with ``${NAME}`` expanded (``$${`` stands for ``${``); raises ValueError if that fails.

    ``variables`` are the names that `variables_of` finds in the file; without them, any name is allowed. The supervisor
    hides these variables from other processes, and would not find a name that is written with escapes.
    """

    def replaced(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        name = found[1]
        if not found[0].endswith("}") or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(
                "${ starts the name of an environment variable: ${NAME}; for the literal characters write $${"
            )
        if variables is not None and name not in variables:
            raise ValueError(f"the environment variable {name} is written with escapes (\\); write ${{{name}}}")
        if name not in environment:
            raise ValueError(
                f"the environment variable {name} is not set; for a command, write env {name}=VALUE before it (after "
                f"sudo); for the service, run sudo systemctl edit edge-infer, write Environment={name}=VALUE below "
                "[Service], and restart it"
            )
        if not environment[name].isprintable():
            raise ValueError(f"the environment variable {name} contains characters that cannot be printed")
        return environment[name]

    return VARIABLE.sub(replaced, word)


def in_quotes(value: str) -> bool:
    """Return whether a text would be a number if it were written without quotes."""
    return isinstance(resolve(value), Written)


def plain(word: str, most: int = 40) -> str:
    """Return a text of the file for use in a message: short, on one line, and without terminal control characters."""
    short = word if len(word) <= most else f"{word[:most]}…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in short)


def shown(value: Any) -> str:
    """Return a value for use in a message: short, and never with the content of an environment variable."""
    if isinstance(value, (Expanded, Written)):
        return value.written
    if isinstance(value, str):
        return f'"{plain(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and len(value) <= 4 and not any(isinstance(item, (list, dict)) for item in value):
        return f"[{', '.join(map(shown, value))}]"
    names = {list: "a list", dict: "a group of keys", type(None): "nothing"}
    return names.get(type(value)) or repr(value)
