"""Edits of single values in the text of a YAML file that leave the rest of the text unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of the characters ``start`` to ``end`` of a text."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with all edits, which do not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def replacing(node: Any, text: str) -> Edit:
    """Return the edit that replaces a scalar."""
    return Edit(node.start_mark.index, node.end_mark.index, text)


def removing(text: str, group: Any, name: str) -> Edit:
    """Return the edit that removes the entry of this name from a mapping."""
    key, value = below(group, name)
    return _entry(text, group, key, value) if group.flow_style else _lines(text, key, value)


def below(node: Any, name: str) -> tuple[Any, Any]:
    """Return the nodes of a mapping's key and of its value."""
    return next((key, value) for key, value in node.value if key.value == name)


def repeated(root: Any, nodes: Iterable[Any]) -> bool:
    """Return whether anchors (&) and aliases (*) repeat one of the nodes in the document."""
    times = Counter(map(id, every(root)))
    return any(times[id(node)] > 1 for node in nodes)


def every(node: Any) -> Iterator[Any]:
    """Yield a node and all nodes below it, repeated as often as aliases repeat them."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from every(key)
            yield from every(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from every(item)


def _lines(text: str, key: Any, value: Any) -> Edit:
    """Remove an entry in lines of its own, with the rest of its last line; comments above and below it stay."""
    last = max(node.end_mark.index for node in every(value) if _ends(node))
    start, end = text.rfind("\n", 0, key.start_mark.index) + 1, text.find("\n", last)
    return Edit(start, len(text) if end < 0 else end + 1, "")


def _entry(text: str, group: Any, key: Any, value: Any) -> Edit:
    """Remove an entry within brackets with the comma after it or, for the last one, before it."""
    start, end = key.start_mark.index, value.end_mark.index
    following = min((each.start_mark.index for each, _ in group.value if each.start_mark.index > start), default=None)
    if following is not None:
        return Edit(start, following, "")
    tokens = (token for token in yaml.scan(text, yaml.SafeLoader) if isinstance(token, yaml.FlowEntryToken))
    before = max(token.start_mark.index for token in tokens if token.start_mark.index < start)
    return Edit(before, end, "")


def _ends(node: Any) -> bool:
    """Return whether the node's end mark is exact; for a block it is the start of the following token."""
    return isinstance(node, yaml.ScalarNode) or bool(node.flow_style)
