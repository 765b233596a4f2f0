"""The text of a configuration file in which a shadow takes the place of the model that serves; all else is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_infer.config.load import parse_document
from edge_infer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters ``start`` to ``end`` of a text, and what takes their place."""

    start: int
    end: int
    text: str


def promoted(path: Path, data: bytes, name: str, pipeline: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the file with model ``name`` in the place of what it is the shadow of, and in which pipelines.

    Only the value of ``model`` and the entry ``shadow`` change. Raises `ConfigError` where there is no such shadow, or
    where the file is written so that an edit would change anything else.
    """
    before = parse_document(path, data)
    if before.problems or before.value is None:
        raise ConfigError("\n".join(map(str, before.problems)) or f"{path} is empty")
    chosen = tuple(_chosen(before.value, name, pipeline))
    if not chosen:
        where = f"pipeline {pipeline} has" if pipeline else "no pipeline has"
        raise ConfigError(f"{path}: {where} {'no ' if pipeline else ''}shadow: {{model: {name}}}")
    text = data.decode("utf-8")
    for each in chosen:
        text = _edited(path, text, each)
    edited = text.encode("utf-8")
    wanted = _swapped(before.value, name, chosen)
    if parse_document(path, edited).value != wanted:
        raise ConfigError(f"{path} is written in a way that cannot be edited here: {_by_hand(chosen[0])}")
    return edited, chosen


def _chosen(value: Any, name: str, pipeline: str | None) -> Iterator[str]:
    for each, body in _mapping(_mapping(value).get("pipelines")).items():
        if _mapping(_mapping(body).get("shadow")).get("model") == name and pipeline in (None, each):
            yield each


def _swapped(value: Mapping[str, Any], name: str, chosen: tuple[str, ...]) -> dict[str, Any]:
    """What the file is to say afterwards."""
    pipelines = dict(value["pipelines"])
    for each in chosen:
        kept = {key: item for key, item in pipelines[each].items() if key != "shadow"}
        pipelines[each] = {key: name if key == "model" else item for key, item in kept.items()}
    return {**value, "pipelines": pipelines}


def _edited(path: Path, text: str, pipeline: str) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    group = _below(_below(root, "pipelines")[1], pipeline)[1]
    model, (key, shadow) = _below(group, "model")[1], _below(group, "shadow")
    spelled = _below(shadow, "model")[1]
    times = Counter(map(id, _nodes(root)))
    if any(times[id(node)] > 1 for node in (group, model, *_nodes(shadow))):
        line = key.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: anchors (&) and aliases (*) are used here; {_by_hand(pipeline)}")
    edits = [
        Edit(model.start_mark.index, model.end_mark.index, text[spelled.start_mark.index : spelled.end_mark.index]),
        _entry(text, group, key, shadow) if group.flow_style else _lines(text, key, shadow),
    ]
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _lines(text: str, key: Any, value: Any) -> Edit:
    """An entry in lines of its own, with what stands behind it there; comments above and below it stay."""
    last = max(node.end_mark.index for node in _nodes(value) if _ends(node))
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


def _below(node: Any, name: str) -> tuple[Any, Any]:
    """The nodes of a key of a mapping and of its value."""
    return next((key, value) for key, value in node.value if key.value == name)


def _nodes(node: Any) -> Iterator[Any]:
    """A node and all below, those that aliases repeat as often as they do."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes(key)
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _nodes(item)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _by_hand(pipeline: str) -> str:
    return f"set model of pipeline {pipeline} and remove its shadow with an editor"
