"""The updates that a client yields: frozen records of the content of a message, or of a change that it detected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge_infer.client.state_view import Standing, when
from edge_infer.contract.messages import ConfigStatus, Event, Health, Info, ModelStatus, Result


@dataclass(frozen=True, slots=True)
class ResultUpdate:
    """A new result; ``missing`` is the number of results just before it that have not arrived (yet)."""

    device: str
    pipeline: str
    result: Result
    missing: int = 0

    @property
    def at(self) -> datetime:
        """When the frame was captured."""
        return when(self.result.ts)


@dataclass(frozen=True, slots=True)
class EventUpdate:
    """A new event; ``missing`` as with results. If ``event.replay`` is true, the event is old."""

    device: str
    pipeline: str
    event: Event
    missing: int = 0

    @property
    def at(self) -> datetime:
        """When the event happened."""
        return when(self.event.ts)


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """The state of a pipeline from now on, or why it is not known any more."""

    device: str
    pipeline: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A device is online or offline; ``retained``: a broker has kept the message, which may be outdated."""

    device: str
    online: bool
    retained: bool = False


@dataclass(frozen=True, slots=True)
class DeviceUpdate:
    """A message of a device about itself; ``model`` is the name of the model that a `ModelStatus` is about."""

    device: str
    record: Info | ConfigStatus | ModelStatus | Health
    model: str = ""


@dataclass(frozen=True, slots=True)
class UnreadableUpdate:
    """A message that does not fit this version of the contract, and the reason.

    The message may come from another publisher.
    """

    topic: str
    why: str


Update = ResultUpdate | EventUpdate | StateUpdate | StatusUpdate | DeviceUpdate | UnreadableUpdate
