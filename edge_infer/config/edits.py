"""Changes of single values in the text of a YAML file, which leave everything else of it as it was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters ``start`` to ``end`` of a text, and what takes their place."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all of these changes, which do not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def replacing(node: Any, text: str) -> Edit:
    """Another text in the place of a scalar."""
    return Edit(node.start_mark.index, node.end_mark.index, text)


def removing(text: str, group: Any, name: str) -> Edit:
    """Takes the entry of this name out of a mapping."""
    key, value = below(group, name)
    return _entry(text, group, key, value) if group.flow_style else _lines(text, key, value)


def below(node: Any, name: str) -> tuple[Any, Any]:
    """The nodes of a key of a mapping and of its value."""
    return next((key, value) for key, value in node.value if key.value == name)


def repeated(root: Any, nodes: Iterable[Any]) -> bool:
    """Whether one of the nodes stands in several places of the document, by anchors (&) and aliases (*)."""
    times = Counter(map(id, every(root)))
    return any(times[id(node)] > 1 for node in nodes)


def every(node: Any) -> Iterator[Any]:
    """A node and all below, those that aliases repeat as often as they do."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from every(key)
            yield from every(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from every(item)


def _lines(text: str, key: Any, value: Any) -> Edit:
    """An entry in lines of its own, with what stands behind it there; comments above and below it stay."""
    last = max(node.end_mark.index for node in every(value) if _ends(node))
    start, end = text.rfind("\n", 0, key.start_mark.index) + 1, text.find("\n", last)
    return Edit(start, len(text) if end < 0 else end + 1, "")


def _entry(text: str, group: Any, key: Any, value: Any) -> Edit:
    """An entry within brackets, with the comma behind it or, where it is the last, before it."""
    start, end = key.start_mark.index, value.end_mark.index
    following = min((each.start_mark.index for each, _ in group.value if each.start_mark.index > start), default=None)
    if following is not None:
        return Edit(start, following, "")
    tokens = (token for token in yaml.scan(text, yaml.SafeLoader) if isinstance(token, yaml.FlowEntryToken))
    before = max(token.start_mark.index for token in tokens if token.start_mark.index < start)
    return Edit(before, end, "")


def _ends(node: Any) -> bool:
    """Whether the parser knows where a node ends: of a block it gives the place of what comes next."""
    return isinstance(node, yaml.ScalarNode) or bool(node.flow_style)
