"""What a client hands out: one frozen record for each thing that a device said, or that the client found out."""

from __future__ import annotations

from dataclasses import dataclass

from edge_infer.client.standing import Standing
from edge_infer.messages import ConfigStatus, Event, Health, Info, ModelStatus, Result


@dataclass(frozen=True, slots=True)
class ResultUpdate:
    """A result that did not come before; ``missing`` numbers just before it have not come (yet, if they are late)."""

    device: str
    pipeline: str
    result: Result
    missing: int = 0


@dataclass(frozen=True, slots=True)
class EventUpdate:
    """An event that did not come before; ``missing`` as with results. Is ``event.replay`` true, it is an old one."""

    device: str
    pipeline: str
    event: Event
    missing: int = 0


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """What holds for a pipeline from now on, or why that is not known any more."""

    device: str
    pipeline: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A device is there, or not; ``retained``: a broker has kept that, and it may be so no more."""

    device: str
    online: bool
    retained: bool = False


@dataclass(frozen=True, slots=True)
class DeviceUpdate:
    """What a device says of itself; ``model`` is the name of the model that a `ModelStatus` is about."""

    device: str
    record: Info | ConfigStatus | ModelStatus | Health
    model: str = ""


@dataclass(frozen=True, slots=True)
class UnreadableUpdate:
    """A message that is none of this version of the contract, and why; there may be other publishers."""

    topic: str
    why: str


Update = ResultUpdate | EventUpdate | StateUpdate | StatusUpdate | DeviceUpdate | UnreadableUpdate
