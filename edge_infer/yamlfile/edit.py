"""Edits single values in the text of a YAML file and leaves the rest of the text unchanged."""

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
    """Return the text after all edits, which must not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def replacing(node: Any, text: str) -> Edit:
    """Return the edit that replaces a scalar."""
    return Edit(node.start_mark.index, node.end_mark.index, text)


def rewriting(text: str, key: Any, value: Any, fresh: str) -> Edit:
    """Return the edit that replaces any value by one in flow style. ``key`` is the node of its key, or None in a list.

    ``fresh`` is the new value.
    """
    if _ends(value):
        return Edit(value.start_mark.index, value.end_mark.index, fresh)
    end = _last(value)
    if key is None:
        return Edit(value.start_mark.index, end, fresh)
    return Edit(text.index(":", key.end_mark.index) + 1, end, f" {fresh}")


def adding(text: str, group: Any, name: str, value: str) -> Edit:
    """Return the edit that adds an entry, in flow style, at the end of a mapping with at least one entry."""
    if group.flow_style:
        end = _last(group.value[-1][1])
        return Edit(end, end, f", {name}: {value}")
    return _new_line(text, _last(group.value[-1][1]), group.value[-1][0].start_mark.column, f"{name}: {value}")


def appending(text: str, items: Any, value: str) -> Edit:
    """Return the edit that adds an item, in flow style, at the end of a list with at least one item."""
    end = _last(items.value[-1])
    if items.flow_style:
        return Edit(end, end, f", {value}")
    return _new_line(text, end, items.start_mark.column, f"- {value}")


def removing_item(text: str, items: Any, index: int) -> Edit:
    """Return the edit that removes an item from a list with at least two items."""
    item = items.value[index]
    if not items.flow_style:
        start = text.rfind("\n", 0, item.start_mark.index) + 1
        end = text.find("\n", _last(item))
        return Edit(start, len(text) if end < 0 else end + 1, "")
    if index + 1 < len(items.value):
        return Edit(item.start_mark.index, items.value[index + 1].start_mark.index, "")
    return Edit(_last(items.value[index - 1]), _last(item), "")


def removing(text: str, group: Any, name: str) -> Edit:
    """Return the edit that removes the entry of this name from a mapping."""
    key, value = below(group, name)
    return _entry(text, group, key, value) if group.flow_style else _lines(text, key, value)


def below(node: Any, name: str) -> tuple[Any, Any]:
    """Return the nodes of a key in a mapping and of its value."""
    return next((key, value) for key, value in node.value if key.value == name)


def repeated(root: Any, nodes: Iterable[Any]) -> bool:
    """Return whether the document repeats one of the nodes, by an anchor (&) and an alias (*)."""
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
    """Remove an entry that has lines of its own, including the rest of its last line.

    Comments above and below it stay.
    """
    start, end = text.rfind("\n", 0, key.start_mark.index) + 1, text.find("\n", _last(value))
    return Edit(start, len(text) if end < 0 else end + 1, "")


def _entry(text: str, group: Any, key: Any, value: Any) -> Edit:
    """Remove an entry within brackets, together with the comma after it or, if it is the last entry, before it."""
    start, end = key.start_mark.index, value.end_mark.index
    following = min((each.start_mark.index for each, _ in group.value if each.start_mark.index > start), default=None)
    if following is not None:
        return Edit(start, following, "")
    tokens = (token for token in yaml.scan(text, yaml.SafeLoader) if isinstance(token, yaml.FlowEntryToken))
    before = max(token.start_mark.index for token in tokens if token.start_mark.index < start)
    return Edit(before, end, "")


def _new_line(text: str, end: int, column: int, line: str) -> Edit:
    """Add a line after the line with this position, which may end with a comment."""
    at = text.find("\n", end)
    return Edit(at, at, f"\n{' ' * column}{line}")


def _last(value: Any) -> int:
    """Return the position where the text of a value ends, without comments and lines after a block."""
    return int(max(node.end_mark.index for node in every(value) if _ends(node)))


def _ends(node: Any) -> bool:
    """Return whether the node's end position is exact. For a block it is the start of the following token."""
    return isinstance(node, yaml.ScalarNode) or bool(node.flow_style)
