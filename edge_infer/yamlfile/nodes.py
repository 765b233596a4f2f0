"""A YAML text as a tree of nodes with their lines, limited in depth and size.

The tree is built from the parser's events without recursion. Neither deep nesting nor anchors that multiply can exhaust
the memory of the process; both are reported as errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

DEEPEST: Final = 20
MOST_NODES: Final = 50_000
PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml, if PyYAML was built with it. PyYAML's own parser takes half a minute for 1 MiB on a small board."""
_NO_BLANK: Final = re.compile(r"\s*(?:- +)?\w[\w.-]*:[^\s:/]")
"""A line that begins with a key and a value without a blank between them. An address such as `http://x` does not
match."""


class YamlError(ValueError):
    """The text is not YAML in the supported form. ``line`` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word or a text. ``plain``: it is not in quotes."""

    line: int
    text: str
    plain: bool
    size: int = 1


@dataclass(slots=True)
class Listing:
    """A list. ``size`` counts the nodes below it; nodes behind an alias count each time."""

    line: int
    items: list[Node] = field(default_factory=list)
    size: int = 1

    def add(self, node: Node) -> None:
        """Append an item."""
        self.items.append(node)


@dataclass(slots=True)
class Group:
    """Keys and their values.

    ``repeated`` holds further occurrences of a key: its name, its line, and the line of the first one.
    """

    line: int
    pairs: dict[str, tuple[int, Node]] = field(default_factory=dict)
    repeated: list[tuple[str, int, int]] = field(default_factory=list)
    size: int = 1
    key: Scalar | None = None

    def add(self, node: Node) -> None:
        """Add a key or, after a key, its value."""
        if self.key is None:
            self.key = _key(node)
            return
        name, line = self.key.text, self.key.line
        if name in self.pairs:
            self.repeated.append((name, line, self.pairs[name][0]))
        else:
            self.pairs[name] = (line, node)
        self.key = None


Node = Scalar | Listing | Group


def compose(text: str, parser: type[Any] = PARSER) -> Node | None:
    """Return the tree of a text that contains one document; None for an empty text. Raises `YamlError`."""
    try:
        loader = parser(text)
    except yaml.YAMLError as error:
        raise YamlError(_bad_character(text), "a character that a text file does not have") from error
    try:
        return _compose(_events(loader))
    except yaml.MarkedYAMLError as error:
        raise _said(error, text) from error
    except yaml.YAMLError as error:
        raise YamlError(_bad_character(text), "a character that a text file does not have") from error
    finally:
        loader.dispose()


def _events(loader: Any) -> Iterator[Any]:
    while loader.check_event():
        yield loader.get_event()


def _compose(events: Iterator[Any]) -> Node | None:
    root: Node | None = None
    stack: list[Listing | Group] = []
    anchors: dict[str, Node | None] = {}
    opened: list[str | None] = []
    documents = 0
    for event in events:
        line = event.start_mark.line + 1
        node: Node | None = None
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlError(line, "a second document begins here (---); expected only one")
        elif isinstance(event, yaml.AliasEvent):
            node = _aliased(event.anchor, anchors, line)
        elif isinstance(event, yaml.ScalarEvent):
            node = Scalar(line, event.value, event.style is None or event.style == "")
            _untagged(event, line)
            _remember(anchors, event.anchor, node)
        elif isinstance(event, yaml.CollectionStartEvent):
            _untagged(event, line)
            stack.append(Group(line) if isinstance(event, yaml.MappingStartEvent) else Listing(line))
            opened.append(event.anchor)
            anchors.update({event.anchor: None} if event.anchor else {})
            if len(stack) > DEEPEST:
                raise YamlError(line, f"nested deeper than {DEEPEST} levels; no configuration needs that")
        elif isinstance(event, yaml.CollectionEndEvent):
            node = stack.pop()
            _remember(anchors, opened.pop(), node)
        if node is not None:
            if not stack:
                root = node
                continue
            stack[-1].size += node.size
            if stack[-1].size > MOST_NODES:
                raise YamlError(
                    node.line, f"more than {MOST_NODES} values (repeated ones counted); no configuration needs that"
                )
            stack[-1].add(node)
    return root


def _remember(anchors: dict[str, Node | None], anchor: str | None, node: Node) -> None:
    if anchor:
        anchors[anchor] = node


def _aliased(anchor: str | None, anchors: dict[str, Node | None], line: int) -> Node:
    node = anchors.get(anchor or "")
    if node is None:
        what = "refers to a value that contains it" if anchor in anchors else "refers to no anchor above"
        raise YamlError(line, f"*{anchor} {what}; write &{anchor} before the value to repeat")
    return node


def _untagged(event: Any, line: int) -> None:
    if event.tag is not None and event.tag != "!":
        raise YamlError(
            line, "tags (words that begin with !) are not used here; put the text in quotes if it begins with !"
        )


def _key(node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise YamlError(node.line, "expected a key, not a list or group; texts with { or [ need quotes")
    return node


def _bad_character(text: str) -> int:
    """Return the line of the first character that YAML does not permit."""
    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _said(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    """Return the parser's error in our own words, because the parser's text may quote the file."""
    mark, start = error.problem_mark, error.context_mark
    noticed = mark.line if mark else 0
    begun = start.line if start else noticed
    lines = text.splitlines()
    before = lines[noticed][: mark.column + 1] if mark and noticed < len(lines) else ""
    if "\t" in before and not before.strip():
        return YamlError(noticed + 1, "a tab at the start of the line; YAML needs spaces there")
    problem, context = error.problem or "", error.context or ""
    if "flow" in context and "${" in before:
        return YamlError(noticed + 1, "a text with ${NAME} within brackets needs quotes")
    if "flow" in context and begun != noticed:
        return YamlError(begun + 1, f"a comma or a closing bracket is missing (noticed in line {noticed + 1})")
    if "unexpected end of stream" in problem:
        return YamlError(begun + 1, "the quote that starts here has no end")
    if "could not find expected ':'" in problem:
        return YamlError(begun + 1, "a key without a colon; write key: value")
    told = next((told for words, told in SAID.items() if words in problem), OTHERWISE)
    if told in (SECOND_COLON, INDENTATION) and (line := _without_blank(lines, noticed)) is not None:
        return YamlError(line + 1, "a blank is missing after the colon; write key: value")
    if told == INDENTATION and (line := _without_colon(lines, noticed)) is not None:
        return YamlError(line + 1, "a key without a colon; write key: value")
    return YamlError(noticed + 1, told)


def _without_blank(lines: list[str], noticed: int) -> int | None:
    """Return the line above the reported one if a blank is missing after the colon of its key, otherwise None."""
    above = next((index for index in range(noticed - 1, -1, -1) if lines[index].strip()), None)
    return above if above is not None and _NO_BLANK.match(lines[above]) else None


def _without_colon(lines: list[str], noticed: int) -> int | None:
    """Return the line above the reported one if it contains a word instead of a key, otherwise None."""
    for index in range(noticed - 1, -1, -1):
        words = re.sub(r"(^|\s)#.*", "", lines[index]).strip()
        if words:
            return index if ":" not in words and words[0] not in "-[{&*\"'" and words[-1] not in ",]}" else None
    return None


SECOND_COLON: Final = "a second colon, or wrong indentation; a text with a colon needs quotes"
INDENTATION: Final = "wrong indentation, or something is missing at the end of the line before"
OTHERWISE: Final = "this is not valid YAML; check indentation, colons, quotes and brackets"
SAID: Final = {
    "exceeded maximum nesting depth": f"nested deeper than {DEEPEST} levels; no configuration needs that",
    "mapping values are not allowed": SECOND_COLON,
    "did not find expected key": INDENTATION,
    "expected <block end>": INDENTATION,
    "did not find expected '-' indicator": INDENTATION,
    "cannot start any token": "a character that cannot begin a value; put the text in quotes",
    "unknown escape character": "a backslash in double quotes begins an escape; use single quotes",
    "duplicate anchor": "an anchor (&) of this name exists already",
    "did not find expected ',' or": "a comma or a closing bracket is missing",
    "expected ',' or": "a comma or a closing bracket is missing",
}
"""Parts of the messages of PyYAML and libyaml, and the sentences that replace these messages."""
