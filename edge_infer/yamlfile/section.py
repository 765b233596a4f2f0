"""Mapping in a YAML file with fixed keys: a pydantic model with complete sentences as error messages."""

from __future__ import annotations

import ast
import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from edge_infer.yamlfile.error_text import as_yaml, in_words, unknown
from edge_infer.yamlfile.fields import Kind
from edge_infer.yamlfile.scalars import shown

TOLD: Final = "told"
"""Type of an error with a message that is already a sentence of this program."""


@dataclass(frozen=True, eq=False)
class Short:
    """Shorter spelling of a section or list.

    ``convert`` returns the long form; it returns any other value unchanged.
    """

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
    """Mapping in a file with fixed keys. Any other key is an error that suggests the correct one.

    The docstring below a key is its description. It is read only when a schema or a table needs it. pydantic would read
    all docstrings at each import, which takes a fifth of the time for reading a configuration.
    """

    records: ClassVar[tuple[type, ...]] = ()
    """Other classes with fields that declare some of the keys of the section."""
    one_of: ClassVar[tuple[str, ...]] = ()
    """Keys of which the section needs exactly one, so that none of them has a default."""
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        found: dict[str, Any] = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        meanings = cls.meanings()
        for key, item in cls.model_fields.items():
            properties[key].pop("title", None)
            properties[key].pop("default", None)
            default = written_default(item)
            properties[key] |= {} if default is None else {"default": default}
            properties[key] |= {"description": meanings[key]} if key in meanings else {}
        return found

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return the meaning of each key that has one, in one line."""
        own = [each for each in reversed(cls.__mro__) if issubclass(each, Section) and each is not Section]
        return {key: text for each in (*cls.records, *own) for key, text in docstrings(each).items()}

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
            details = [cls._detail(found) for found in told]  # a misspelt key is not reported as missing in addition
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def _detail(cls, error: Any) -> InitErrorDetails:
        """Return the error with a sentence of this program; an error of a nested section already has one."""
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
        if text and error["input"] is None and cls._has_default(path):
            text += "; remove the key to use the default"
        kind = PydanticCustomError(TOLD, "{text}", {"text": text or error["msg"]})
        return InitErrorDetails(type=kind, loc=path, input=None)  # pydantic would show the input in tracebacks

    @classmethod
    def _has_default(cls, path: tuple[str | int, ...]) -> bool:
        """Return whether a path is that of an optional key of this section."""
        field = cls.model_fields.get(str(path[0])) if len(path) == 1 else None
        return field is not None and not field.is_required() and path[0] not in cls.one_of


def docstrings(owner: type) -> dict[str, str]:
    """Return the docstring below each field of a class."""
    found = {}
    for field, text in pairwise(_classes(owner.__module__)[owner.__name__].body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """Return the classes of a module by name, parsed once."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {each.name: each for each in ast.walk(tree) if isinstance(each, ast.ClassDef)}


def _is(error: Any, kind: str) -> bool:
    """Return whether an error has this type and is about a key of the section itself."""
    return error["type"] == kind and len(error["loc"]) == 1


def written_default(item: FieldInfo) -> Any:
    """Return a field's default in the spelling of a file.

    Return None for a required field, and for a default without a spelling, which applies only if the key is absent.
    """
    default = item.get_default(call_default_factory=True)
    if item.is_required() or default is None or default == () or isinstance(default, (Section, dict)):
        return None
    kind = next((kind for kind in item.metadata if isinstance(kind, Kind)), None)
    return kind.write(default) if kind else default
