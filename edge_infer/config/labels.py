"""Lists of labels in a configuration file."""

from __future__ import annotations

from typing import Any, Final

from edge_infer.config.fields import text
from edge_infer.config.sentences import ProblemAtError, wrong

LABEL_LIST: Final = {"type": "array", "minItems": 1, "items": {"type": ["string", "number"]}}


def parse_labels(value: Any, expected: str = "a list of labels such as [person, dog]") -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(wrong(expected, value) if value != [] else f"expected {expected}; this one is empty")
    found, kind = [], text("a label", most=128)
    for index, item in enumerate(value):
        try:
            found.append(kind.parse(item))
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
    return tuple(found)
