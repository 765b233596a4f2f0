"""Sections of the configuration that take their keys from the records of the plan (`plan/keys.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import Field, create_model

from edge_infer.contract.codec import Record
from edge_infer.plan.keys import Key, keys_of
from edge_infer.yamlfile import fields as kinds
from edge_infer.yamlfile.fields import Kind
from edge_infer.yamlfile.section import Section

S = TypeVar("S", bound=Section)
R = TypeVar("R", bound=Record)


def with_keys_of(record: type[Record], **others: Kind) -> Callable[[type[S]], type[S]]:
    """Return a decorator that adds the keys of a plan record to a section, after its own keys.

    ``others`` are the parsers of the keys of the kind ``other``.
    """

    def add(section: type[S]) -> type[S]:
        defaults = _defaults(record)
        added: dict[str, Any] = {}
        for name, (annotation, key) in keys_of(record).items():
            kind = others[name] if key.kind == "other" and name in others else _kind(annotation, key)
            examples = Field(examples=list(key.examples) or None)
            added[name] = (Annotated[annotation, kind, examples], defaults.get(name, ...))
        made = create_model(
            section.__name__, __base__=section, __module__=section.__module__, __doc__=section.__doc__, **added
        )
        made.__qualname__ = section.__qualname__
        made.records = (*section.records, record)
        return made

    return add


def _kind(annotation: Any, key: Key) -> Kind:
    if get_origin(annotation) is Literal:
        return kinds.choice(*get_args(annotation))
    made: Kind = getattr(kinds, key.kind)(key.low, key.high)
    return made


def _defaults(record: type[Record]) -> dict[str, Any]:
    values = record.__struct_defaults__
    return dict(zip(record.__struct_fields__[len(record.__struct_fields__) - len(values) :], values, strict=True))


def values_of(record: type[Record], section: Section) -> dict[str, Any]:
    """Return the values of a section for the keys of a record."""
    return {name: getattr(section, name) for name in keys_of(record)}


def planned(record: type[R], section: Section, **others: Any) -> R:
    """Return a record with the values of a section. Values in ``others`` are added or take precedence."""
    return record(**{**values_of(record, section), **others})
