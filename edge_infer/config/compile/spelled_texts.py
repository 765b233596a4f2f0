"""Texts of a configuration that contain environment variables, for messages: ``${NAME}`` in place of the value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_infer.contract.codec import replace
from edge_infer.errors import shortened
from edge_infer.plan.records import Problem, Unfit, as_spelled
from edge_infer.readers.sources.credentials_in_url import shown
from edge_infer.yamlfile.load import Document, Steps, spell
from edge_infer.yamlfile.scalars import Expanded, Written

MAX_TEXT: Final = 4000
_LEAST: Final = 4
"""Number of characters below which a value is no secret. To replace it would spoil words of the message."""

_VARIABLE: Final = re.compile(r"(\$\{[^}]*\})")


class SpelledTexts:
    """The values with variables in a document, each with the text as the file spells it."""

    def __init__(self, document: Document) -> None:
        self._folder = Path(document.file).absolute().parent
        self._found = list(_expanded(document.value))

    def below(self, steps: Steps) -> Mapping[str, str]:
        """Return what messages about this part may not show, each with what they show instead."""
        forms: dict[str, str] = {}
        for found, value, written in self._found:
            if _is_below(found, spell(steps)):
                forms |= self._forms(value, written, near=True)
        return forms

    def problem(self, problem: Problem) -> Problem:
        """Return the problem without the value of a variable."""
        return replace(problem, text=self._hidden(problem.path, problem.text)[:MAX_TEXT]) if self._found else problem

    def unfit(self, unfit: Unfit) -> Unfit:
        """Return the reason about a model without the value of a variable."""
        place = spell(("models", unfit.name))
        return replace(unfit, reason=shortened(self._hidden(place, unfit.reason))) if self._found else unfit

    def _hidden(self, place: str, text: str) -> str:
        forms: dict[str, str] = {}
        for found, value, written in self._found:
            forms |= self._forms(value, written, near=_is_below(found, place) or _is_below(place, found))
        return as_spelled(text, forms)

    def _forms(self, value: str, written: str, *, near: bool) -> dict[str, str]:
        """Return the forms of a value in messages. Only in a message about its own key, the mere value is one."""
        path = self._folder / value
        forms = {str(path): str(self._folder / written)} if value and not self._folder.is_relative_to(path) else {}
        if near:
            forms |= {**dict(_values_of_variables(value, written)), value: written}
            forms |= dict(_parts_of_address(value, written))
            forms[value.replace("@", "/")] = written.replace("@", "/")  # the place of a package in the store
        return {form: instead for form, instead in forms.items() if len(form) >= _LEAST}


def _values_of_variables(value: str, written: str) -> Iterator[tuple[str, str]]:
    """Yield the value of each variable in a text, and its spelling. A camera may repeat the value alone."""
    parts = _VARIABLE.split(written)
    pattern = "".join("(.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    if found := re.fullmatch(pattern, value, re.DOTALL):
        yield from zip(found.groups(), parts[1::2], strict=True)


def _parts_of_address(value: str, written: str) -> Iterator[tuple[str, str]]:
    """Yield an address without its user and query, its host, and the parts of its path. A redirect may repeat them."""
    try:
        parts, said = urlsplit(value), urlsplit(written)
        host = parts.hostname or ""
    except ValueError:
        return
    if not parts.netloc:
        return
    yield shown(value), shown(written)
    if host not in written.lower():
        yield host, said.netloc.rpartition("@")[2] or written
    segments, spelled = parts.path.split("/"), said.path.split("/")
    if len(segments) != len(spelled):
        segments, spelled = [parts.path.strip("/")], [said.path.strip("/")]
    yield from ((segment, instead) for segment, instead in zip(segments, spelled, strict=True) if segment != instead)


def _expanded(value: Any, steps: Steps = ()) -> Iterator[tuple[str, str, str]]:
    """Yield the place of each text with a variable, its value, and its spelling."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _expanded(part, (*steps, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _expanded(part, (*steps, index))
    elif isinstance(value, Expanded) or (isinstance(value, Written) and value.written != value.text):
        yield spell(steps), value.text if isinstance(value, Written) else str(value), value.written


def _is_below(place: str, above: str) -> bool:
    return re.match(rf"{re.escape(above)}(?![^.\[])", place) is not None
