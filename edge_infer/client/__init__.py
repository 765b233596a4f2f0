"""Subscriber library: returns device messages as typed records, and finds gaps, duplicates and the current states.

It needs paho-mqtt and no other large package: no NumPy, no model runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_infer.client.connection import Client
from edge_infer.client.message_numbers import Series
from edge_infer.client.snapshots import Snapshot
from edge_infer.client.state_view import Standing, when
from edge_infer.client.updates import (
    DeviceUpdate,
    EventUpdate,
    ResultUpdate,
    StateUpdate,
    StatusUpdate,
    UnreadableUpdate,
    Update,
)
from edge_infer.errors import ConfigError, EdgeInferError, WireError

if TYPE_CHECKING:
    from edge_infer.client.async_client import AsyncClient

__all__ = [
    "AsyncClient",
    "Client",
    "ConfigError",
    "DeviceUpdate",
    "EdgeInferError",
    "EventUpdate",
    "ResultUpdate",
    "Series",
    "Snapshot",
    "Standing",
    "StateUpdate",
    "StatusUpdate",
    "UnreadableUpdate",
    "Update",
    "WireError",
    "when",
]


def __getattr__(name: str) -> Any:
    """Import `AsyncClient` when it is used: programs without asyncio need not load that."""
    if name == "AsyncClient":
        from edge_infer.client.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
