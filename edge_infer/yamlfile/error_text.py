"""Error texts about a value: the expected value, the given one, and a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from edge_infer.yamlfile.scalars import in_quotes, plain, shown


class ProblemAtError(ValueError):
    """A problem at ``path`` below the value that is being checked."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


def as_yaml(value: Any) -> str:
    """Return a value as one line of YAML; words have no quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def in_words(error: Mapping[str, Any]) -> str:
    """Return a sentence for one of pydantic's own types of errors."""
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
    """Return ``expected …, not …``. For a number in quotes, add the remedy."""
    quoted = isinstance(value, str) and in_quotes(value) and "number" in expected
    remedy = " (without quotes)" if quoted else ""
    return f"expected {expected}, not {shown(value)}{remedy}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` or a list of the known names."""
    names = [plain(str(name), 128) for name in known]
    close = difflib.get_close_matches(word, names, 1, 0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    shortened = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"known: {shortened}" if names else "there is none"


def unknown(key: str, known: Iterable[str]) -> str:
    """Return the sentence for a key that is unknown in this section."""
    return f"is not known here; {suggestion(key, known)}"
