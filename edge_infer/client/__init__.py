"""For subscribers: what devices say as typed records, with gaps, repetitions and what holds now worked out.

It needs paho-mqtt and nothing else that is large: no NumPy, no model runtime.
"""

from edge_infer.client.connection import Client
from edge_infer.client.numbers import Series
from edge_infer.client.standing import Standing
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
    "Standing",
    "StateUpdate",
    "StatusUpdate",
    "UnreadableUpdate",
    "Update",
]
