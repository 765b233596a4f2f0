"""Open sets: a table ``name -> "module:Class"``, imported on use, and the entry points that let others add to it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any

from edge_infer.errors import ConfigError


def names(table: Mapping[str, str], group: str) -> tuple[str, ...]:
    """All names of an open set, built in and added by other packages under the entry point ``group``."""
    return tuple(dict.fromkeys([*table, *(point.name for point in metadata.entry_points(group=group))]))


def lookup(table: Mapping[str, str], group: str, name: str) -> Any:  # the caller knows the protocol of its table
    """The class behind ``name``; raises `ConfigError` for a name nobody registered. Built-in names win."""
    target = table.get(name)
    if target is None:
        for point in metadata.entry_points(group=group, name=name):
            return point.load()
        known = ", ".join(sorted(names(table, group)))
        raise ConfigError(f"unknown name {name!r} in {group}; known: {known}")
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
