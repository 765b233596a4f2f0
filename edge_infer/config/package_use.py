"""Edit of a configuration file's text that switches a model to another package of the store and keeps all else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from edge_infer.config.edits import below, edited, every, repeated, replacing
from edge_infer.config.load import parse_document
from edge_infer.errors import ConfigError


def using(path: Path, data: bytes, name: str, title: str, digest: str) -> tuple[bytes, str]:
    """Return the file's bytes with ``use: title`` in the entry of model ``name``, and the previous value.

    A ``sha256`` in the entry becomes ``digest``, that of the package's file; ``file`` becomes ``use``. Raises
    `ConfigError` if there is no such model, or if an edit would change other values of the file.
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
        raise ConfigError(f"{path}: models.{name} has neither use nor file, one of which this would change")
    wanted = {each: item for each, item in entry.items() if each not in ("file", "sha256")} | {"use": title}
    wanted |= {"sha256": digest} if "sha256" in entry else {}
    if wanted == entry:
        return data, f"use: {title}"
    values = {"use": title, "file": title, "sha256": digest}
    after = _edited(path, data.decode("utf-8"), name, values).encode("utf-8")
    found = parse_document(path, after)
    if found.problems or found.value != {**before.value, "models": {**models, name: wanted}}:
        raise ConfigError(f"{path} is written in a way that cannot be edited here: {_by_hand(name, title)}")
    return after, f"{key}: {entry[key]}"


def _edited(path: Path, text: str, name: str, values: Mapping[str, str]) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    place, group = below(below(root, "models")[1], name)
    if repeated(root, every(group)):
        line = place.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: anchors (&) and aliases (*) are used here; {_by_hand(name, values['use'])}")
    edits = [replacing(value, values[key.value]) for key, value in group.value if key.value in values]
    edits += [replacing(key, "use") for key, _ in group.value if key.value == "file"]
    return edited(text, edits)


def _by_hand(name: str, title: str) -> str:
    return f"set use: {title} of model {name} with an editor"
