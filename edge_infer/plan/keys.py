"""Configuration keys with values that enter the plan unchanged: each is declared once, as a field of a plan record.

The field has the type, the default, the limits (`key`) and, in the docstring below it, the meaning. The section of the
configuration, its JSON Schema and the tables of the documentation are derived from this field
(`config/schema/keys.py`).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from edge_infer.contract.codec import Meta, Record

Kind = Literal["number", "integer", "duration", "size", "other"]
_EXTRA: Final = "key"


class Key(Record, frozen=True):
    """The form of a field's value in the configuration file: the kind of value, and its inclusive limits.

    With the kind ``other`` the section provides the parser. A ``Literal`` needs no limits.
    """

    kind: Kind = "other"
    low: Any = None
    high: Any = None
    examples: tuple[Any, ...] = ()


def key(kind: Kind = "other", low: Any = None, high: Any = None, *, examples: tuple[Any, ...] = ()) -> Meta:
    """Mark a field as a key of the configuration. Limits of durations and sizes may be texts such as ``10s``.

    Examples are for keys without a default.
    """
    return Meta(extra={_EXTRA: Key(kind, low, high, examples)})


@cache
def keys_of(record: type[Record]) -> dict[str, tuple[Any, Key]]:
    """Return the type and the `Key` of each field of a record that is a configuration key, by name."""
    found = {}
    for name, hint in get_type_hints(record, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        kind, *marks = get_args(hint)
        for mark in marks:
            if isinstance(mark, Meta) and _EXTRA in (mark.extra or {}):
                found[name] = (kind, (mark.extra or {})[_EXTRA])
    return found
