"""Reads a YAML file into a `Section`, and reports all problems at once, with file, line, path and remedy.

The configuration and manifests are read this way. PyYAML is used only as a parser. Its own loader would keep the last
of two equal keys and would read ``12:30`` as 750 and ``on`` as true. Here, `edge_infer.yamlfile.scalars` turns words
into values.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from edge_infer.plan.records import Problem
from edge_infer.platform.config_files import variables_of
from edge_infer.platform.permissions import why_unreadable
from edge_infer.yamlfile.error_text import in_words
from edge_infer.yamlfile.nodes import Group, Listing, Node, Scalar, YamlError, compose
from edge_infer.yamlfile.scalars import Expanded, expand, plain, resolve

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")
Steps: TypeAlias = tuple[str | int, ...]
"""Path of a value in a document: keys, and positions in lists."""

LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file after reading: its digest, its values, and the problems found so far.

    ``digest`` is empty if the file, or one of its parts, could not be read. ``value`` is None if the keys could not be
    read. ``homes`` holds the document of each entry that is in another file, by the first two steps of its path.
    """

    file: str
    digest: str
    root: Node | None
    value: Any
    problems: tuple[Problem, ...] = ()
    homes: Mapping[Steps, Document] = field(default_factory=dict)

    def problem(self, steps: Steps, text: str) -> Problem:
        """Return a problem with the value at this path."""
        home = self.homes.get(steps[:2], self)
        return Problem(home.file, home.line(steps), spell(steps), text)

    def line(self, steps: Steps) -> int:
        """Return the line of a value. If the value is missing, return the line of its closest parent."""
        line, node = (self.root.line if self.root else 1), self.root
        for step in steps:
            if isinstance(node, Group) and isinstance(step, str) and step in node.pairs:
                line, node = node.pairs[step]
                line = node.line if isinstance(node, Scalar) and node.text else line
            elif isinstance(node, Listing) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                line = node.line
            else:
                break
        return line


def spell(steps: Steps) -> str:
    """Return a path as text, such as ``pipelines.door.mask[0][2]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{plain(step, 64)}" for step in steps).lstrip(".")


def load_yaml(path: Path, model: type[M]) -> tuple[M | None, tuple[Problem, ...]]:
    """Return the record of a YAML file, or all its problems. Environment variables are not expanded."""
    document = read_document(path)
    value, problems = validate(document, model)
    return (None if problems else value), problems


def validate(document: Document, model: type[M]) -> tuple[M | None, tuple[Problem, ...]]:
    """Return the record if the document's value is valid, and all problems of the document, sorted by line."""
    if document.value is None:
        return None, document.problems
    from pydantic import ValidationError  # this import takes half a second on a small board

    try:
        return model.model_validate(document.value), document.problems
    except ValidationError as error:
        found = [_problem(document, detail) for detail in error.errors(include_url=False)]
    known = {problem.path for problem in document.problems}
    return None, in_order([*document.problems, *(problem for problem in found if problem.path not in known)])


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems sorted by line, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line)))


def _problem(document: Document, detail: Any) -> Problem:
    from edge_infer.yamlfile.section import TOLD

    steps = tuple(step for step in detail["loc"] if step != "[key]")
    return document.problem(steps, detail["msg"] if detail["type"] == TOLD else in_words(detail))


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read a file. With an ``environment``, expand ``${NAME}`` in texts. Invalid content raises no error."""
    try:
        data = _read(path)
    except YamlError as error:
        return _unreadable(path, None, error)
    return parse_document(path, data, environment)


def parse_document(path: Path, data: bytes, environment: Mapping[str, str] | None = None) -> Document:
    """Do the same as `read_document` for bytes that have been read already; ``path`` is used in messages."""
    try:
        root = _top(compose(_decode(data)))
    except YamlError as error:
        return _unreadable(path, data, error)
    reading = _NodeWalk(str(path), environment, variables_of(data))
    value = reading.value(root, ())
    return Document(str(path), hashlib.sha256(data).hexdigest(), root, value, tuple(reading.problems))


def _unreadable(path: Path, data: bytes | None, error: YamlError) -> Document:
    problem = Problem(str(path), error.line, "", str(error))
    digest = "" if data is None else hashlib.sha256(data).hexdigest()
    return Document(str(path), digest, None, None, (problem,))


def _top(root: Node | None) -> Group:
    if root is None:
        raise YamlError(1, "the file is empty")
    if not isinstance(root, Group):
        raise YamlError(root.line, "expected keys with a colon at the start of the line, not a single value or list")
    return root


def _read(path: Path) -> bytes:
    """Return the bytes of a regular file; raises `YamlError`.

    Reading stops after the first part beyond `LARGEST`; `_decode` then rejects the file as too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe must not block
    except (OSError, ValueError) as error:
        raise YamlError(1, why_unreadable(path, error)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise YamlError(1, "is not a regular file")
        data = b""
        while len(data) <= LARGEST and (part := os.read(descriptor, LARGEST)):
            data += part
    except OSError as error:
        raise YamlError(1, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return data


def _decode(data: bytes) -> str:
    """Return the text of a complete text file of at most 1 MiB; raises `YamlError`."""
    if len(data) > LARGEST:
        raise YamlError(1, f"is larger than {LARGEST >> 20} MiB; check that this is the right file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError(line, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 text") from error
    if "\0" in text:
        raise YamlError(text.count("\n", 0, text.index("\0")) + 1, "contains a zero byte, so it is not a text file")
    if text and not text.endswith("\n"):
        raise YamlError(
            text.count("\n") + 1, "the last line has no line end: the file may be cut off (end it with a newline)"
        )
    return text


@dataclass(slots=True)
class _NodeWalk:
    """One pass over the nodes of a file. It converts the nodes to values and collects problems."""

    file: str
    environment: Mapping[str, str] | None
    variables: Container[str]
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: Node, steps: Steps) -> Any:
        """Return the value of a node: dict, list, text, `Written` number, bool or None."""
        if isinstance(node, Listing):
            return [self.value(item, (*steps, index)) for index, item in enumerate(node.items)]
        if isinstance(node, Group):
            for name, line, first in node.repeated:
                text = f"is set twice (first in line {first}); remove one of them"
                self.problems.append(Problem(self.file, line, spell((*steps, name)), text))
            return {name: self.value(inner, (*steps, name)) for name, (_, inner) in node.pairs.items()}
        try:
            return self.word(node)
        except ValueError as error:
            self.problems.append(Problem(self.file, node.line, spell(steps), str(error)))
            return node.text

    def word(self, node: Scalar) -> Any:
        """Return the value of a scalar; raises ValueError if a variable cannot be expanded."""
        if self.environment is None or "${" not in node.text:
            return resolve(node.text) if node.plain else node.text
        filled = Expanded(expand(node.text, self.environment, self.variables))
        filled.written = node.text
        return resolve(filled, node.text) if node.plain else filled
