"""Open sets: a table ``name -> "module:Class"``, and the entry points that let others add to it.

Names become targets where a configuration is read; the rooms get targets and import them on use. So the engine needs
no ``importlib.metadata``, which would load ``socket``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from edge_infer.errors import ConfigError


def names(table: Mapping[str, str], group: str) -> tuple[str, ...]:
    """All names of an open set, built in and added by other packages under the entry point ``group``."""
    return tuple(dict.fromkeys([*table, *_plugins(group)]))


def target(table: Mapping[str, str], group: str, name: str) -> str:
    """The ``module:Class`` of a name; raises `ConfigError` for one that nobody registered. Built-in names win."""
    found = table.get(name) or _plugins(group).get(name)
    if found is None:
        raise ConfigError(f"unknown name {name!r}; known: {', '.join(sorted(names(table, group)))}")
    return found


def load(target: str) -> Any:  # the caller knows the protocol of its table
    """The class behind ``module:Class``; raises `ConfigError` when it cannot be imported."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target} cannot be imported: {error}") from error


def _plugins(group: str) -> dict[str, str]:
    from importlib import metadata

    return {point.name: point.value for point in metadata.entry_points(group=group)}
