"""Plug-ins: a table ``name -> "module:Class"``, and the entry points with which other packages extend it.

The process that reads a configuration resolves names to targets. The other processes get targets and import them on
use. So the engine does not need ``importlib.metadata``, which would load ``socket``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from edge_infer.errors import ConfigError


def names(table: Mapping[str, str], group: str) -> tuple[str, ...]:
    """Return all names of a table, built in and added by other packages under the entry point ``group``."""
    return tuple(dict.fromkeys([*table, *_plugins(group)]))


def target(table: Mapping[str, str], group: str, name: str) -> str:
    """Return the ``module:Class`` of a name; raises `ConfigError` for an unknown one. Built-in names win."""
    found = table.get(name) or _plugins(group).get(name)
    if found is None:
        raise ConfigError(f"unknown name {name!r}; known: {', '.join(sorted(names(table, group)))}")
    return found


def load(target: str) -> Any:  # the caller knows the protocol of its table
    """Return the class behind ``module:Class``; raises `ConfigError` when it cannot be imported."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target} cannot be imported: {error}") from error


def _plugins(group: str) -> dict[str, str]:
    from importlib import metadata

    return {point.name: point.value for point in metadata.entry_points(group=group)}
