"""Edits of a configuration file's text by commands: another package for a model, or promotion of a shadow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_infer.errors import ConfigError
from edge_infer.yamlfile.edit import below, edited, every, removing, repeated, replacing
from edge_infer.yamlfile.load import parse_document

# Edit that changes a model to another package of the store. The rest of the text stays unchanged.


def using(path: Path, data: bytes, name: str, title: str, digest: str) -> tuple[bytes, str]:
    """Return the file's bytes with ``use: title`` in the entry of model ``name``, and the previous value.

    A ``sha256`` in the entry becomes ``digest``, the digest of the package's model file; ``file`` becomes ``use``.
    Raises `ConfigError` if there is no such model, or if the edit would change other values of the file.
    """
    before = parse_document(path, data)
    if before.problems or before.value is None:
        raise ConfigError("\n".join(map(str, before.problems)) or f"{path} is empty")
    models = before.value.get("models")
    entry = models.get(name) if isinstance(models, dict) else None
    if not isinstance(models, dict) or not isinstance(entry, dict):
        known = f"; there are {', '.join(models)}" if isinstance(models, dict) and models else ""
        raise ConfigError(f"{path}: it has no model {name}{known}")
    key = "use" if "use" in entry else "file"
    if key not in entry:
        raise ConfigError(f"{path}: models.{name} has neither use nor file; add one of them")
    wanted = {each: item for each, item in entry.items() if each not in ("file", "sha256")} | {"use": title}
    wanted |= {"sha256": digest} if "sha256" in entry else {}
    if wanted == entry:
        return data, f"use: {title}"
    values = {"use": title, "file": title, "sha256": digest}
    after = _package_edited(path, data.decode("utf-8"), name, values).encode("utf-8")
    found = parse_document(path, after)
    if found.problems or found.value != {**before.value, "models": {**models, name: wanted}}:
        raise ConfigError(f"this command cannot edit {path} as it is written: {_package_by_hand(name, title)}")
    return after, f"{key}: {entry[key]}"


def _package_edited(path: Path, text: str, name: str, values: Mapping[str, str]) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    place, group = below(below(root, "models")[1], name)
    if repeated(root, every(group)):
        line = place.start_mark.line + 1
        raise ConfigError(
            f"{path}:{line}: this command cannot edit anchors (&) and aliases (*): "
            f"{_package_by_hand(name, values['use'])}"
        )
    edits = [replacing(value, values[key.value]) for key, value in group.value if key.value in values]
    edits += [replacing(key, "use") for key, _ in group.value if key.value == "file"]
    return edited(text, edits)


def _package_by_hand(name: str, title: str) -> str:
    return f"set use: {title} of model {name} with an editor"


# Edit that makes a shadow the model of its pipeline. The rest of the text stays unchanged.


def promoted(path: Path, data: bytes, name: str, pipeline: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return the file's bytes with model ``name`` in place of the model that it shadows, and the changed pipelines.

    Only the value of ``model`` and the entry ``shadow`` change. Raises `ConfigError` if there is no such shadow, or if
    the edit would change other values of the file.
    """
    before = parse_document(path, data)
    if before.problems or before.value is None:
        raise ConfigError("\n".join(map(str, before.problems)) or f"{path} is empty")
    chosen = tuple(shadowing(before.value, name, pipeline))
    if not chosen:
        where = f"pipeline {pipeline} has" if pipeline else "no pipeline has"
        raise ConfigError(f"{path}: {where} {'no ' if pipeline else ''}shadow: {{model: {name}}}")
    text = data.decode("utf-8")
    for each in chosen:
        text = _shadow_edited(path, text, each)
    after = text.encode("utf-8")
    wanted = _swapped(before.value, name, chosen)
    if parse_document(path, after).value != wanted:
        raise ConfigError(f"this command cannot edit {path} as it is written: {_promote_by_hand(chosen[0])}")
    return after, chosen


def shadowing(value: Any, name: str, pipeline: str | None = None) -> Iterator[str]:
    """Yield the pipelines that have this model as their shadow."""
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


def _shadow_edited(path: Path, text: str, pipeline: str) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    group = below(below(root, "pipelines")[1], pipeline)[1]
    model, (key, shadow) = below(group, "model")[1], below(group, "shadow")
    spelled = below(shadow, "model")[1]
    if repeated(root, (group, model, *every(shadow))):
        line = key.start_mark.line + 1
        raise ConfigError(
            f"{path}:{line}: this command cannot edit anchors (&) and aliases (*): {_promote_by_hand(pipeline)}"
        )
    name = text[spelled.start_mark.index : spelled.end_mark.index]
    return edited(text, [replacing(model, name), removing(text, group, "shadow")])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _promote_by_hand(pipeline: str) -> str:
    return f"set model of pipeline {pipeline} and remove its shadow with an editor"
