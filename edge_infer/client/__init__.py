"""Subscriber library: returns device messages as typed records, and finds gaps, duplicates and the current states.

It needs paho-mqtt and no other large package: no NumPy, no model runtime.
"""

from edge_infer.client.connection import Client
from edge_infer.client.message_numbers import Series
from edge_infer.client.snapshots import Snapshot
from edge_infer.client.state_view import Standing
from edge_infer.client.updates import (
    DeviceUpdate,
    EventUpdate,
    ResultUpdate,
    StateUpdate,
    StatusUpdate,
    UnreadableUpdate,
    Update,
)
from edge_infer.errors import EdgeInferError

__all__ = [
    "Client",
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
]
