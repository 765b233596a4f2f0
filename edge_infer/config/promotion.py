"""Edit of a configuration file's text that makes a shadow the serving model and keeps all else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_infer.config.edits import below, edited, every, removing, repeated, replacing
from edge_infer.config.load import parse_document
from edge_infer.errors import ConfigError


def promoted(path: Path, data: bytes, name: str, pipeline: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return the file's bytes with model ``name`` in place of the model that it shadows, and the changed pipelines.

    Only the value of ``model`` and the entry ``shadow`` change. Raises `ConfigError` if there is no such shadow, or if
    an edit would change other values of the file.
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
    after = text.encode("utf-8")
    wanted = _swapped(before.value, name, chosen)
    if parse_document(path, after).value != wanted:
        raise ConfigError(f"{path} is written in a way that cannot be edited here: {_by_hand(chosen[0])}")
    return after, chosen


def _chosen(value: Any, name: str, pipeline: str | None) -> Iterator[str]:
    for each, body in _mapping(_mapping(value).get("pipelines")).items():
        if _mapping(_mapping(body).get("shadow")).get("model") == name and pipeline in (None, each):
            yield each


def _swapped(value: Mapping[str, Any], name: str, chosen: tuple[str, ...]) -> dict[str, Any]:
    """Return the values that the edited file must have."""
    pipelines = dict(value["pipelines"])
    for each in chosen:
        kept = {key: item for key, item in pipelines[each].items() if key != "shadow"}
        pipelines[each] = {key: name if key == "model" else item for key, item in kept.items()}
    return {**value, "pipelines": pipelines}


def _edited(path: Path, text: str, pipeline: str) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    group = below(below(root, "pipelines")[1], pipeline)[1]
    model, (key, shadow) = below(group, "model")[1], below(group, "shadow")
    spelled = below(shadow, "model")[1]
    if repeated(root, (group, model, *every(shadow))):
        line = key.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: anchors (&) and aliases (*) are used here; {_by_hand(pipeline)}")
    name = text[spelled.start_mark.index : spelled.end_mark.index]
    return edited(text, [replacing(model, name), removing(text, group, "shadow")])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _by_hand(pipeline: str) -> str:
    return f"set model of pipeline {pipeline} and remove its shadow with an editor"
