"""The current states: states and status combined, so that no subscriber acts on the last message of a vanished device.

A broker keeps the last retained messages of a device, also on its disk, and sends them to new subscribers. A retained
message therefore shows an earlier state. Only a message from the device itself shows that the device is online.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final, Generic, Literal, TypeVar

from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import Event, Health, Reason, Result, State
from edge_infer.errors import WireError
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.timestamps import seconds

log = logging.getLogger(__name__)

WhyNot = Reason | Literal["", "offline", "disconnected", "removed", "silent", "unconfirmed"]
"""Why a state is unknown, empty if it is known. It is the reason in the state, or one of these:

- ``offline``: the device is offline.
- ``disconnected``: this client is not connected.
- ``removed``: the pipeline is gone.
- ``silent``: the device has not sent the state for too long.
- ``unconfirmed``: a broker has kept the state, and the device has sent nothing since.
"""
SILENT: Final = 180.0
"""Seconds after which a state or a health message expires unless it is repeated; devices repeat it every 60 s."""
FRESH: Final = 60.0
"""Maximum difference in seconds between the time of a live message and this clock. An older message has waited in a
session or at a bridge, and does not show that its device is online now."""
LATE: Final = 10.0
"""Age in seconds above which a state is ignored while the broker sends the messages that it queued during the client's
absence."""

CATCHING_UP: Final = 30.0
"""Maximum seconds for which the broker sends queued messages, if no retained message shows the end."""

Kept = TypeVar("Kept", State, Health)


@dataclass(frozen=True, slots=True)
class Standing:
    """The current state of a pipeline, or None and the reason."""

    state: State | None
    why_not: WhyNot = ""
    events: tuple[Event, ...] = ()
    """The events that have begun and not ended since this client connected; the oldest first."""

    @property
    def counts(self) -> Mapping[str, int] | None:
        """The number of objects by label; None if unknown, or if the task counts nothing."""
        counts = self.state.counts if self.state is not None else None
        return counts if isinstance(counts, Mapping) else None

    @property
    def zones(self) -> Mapping[str, Mapping[str, int]] | None:
        """The number of objects by zone and label; None if unknown, or if the pipeline has no zones."""
        zones = self.state.zones if self.state is not None else None
        return zones if isinstance(zones, Mapping) else None

    @property
    def since(self) -> datetime | None:
        """When the current state began; None if unknown."""
        since = self.state.since if self.state is not None else ABSENT
        return None if since is ABSENT else when(since)

    def present(self, label: str, zone: str | None = None) -> bool | None:
        """Return whether an object with this label is there, in the picture or in a zone; None if unknown.

        The result is also None for a label without a count if not all labels fitted into the message (``more``).
        """
        counts = self.counts if zone is None else (self.zones or {}).get(zone)
        if counts is None or self.state is None or (label not in counts and self.state.more is not ABSENT):
            return None
        return counts.get(label, 0) > 0


def when(stamp: str) -> datetime:
    """Return the time of a message, such as its ``ts`` or ``since``, in UTC; raises `WireError` if it is invalid."""
    return datetime.fromtimestamp(seconds(stamp), tz=timezone.utc)


@dataclass(frozen=True, slots=True)
class _Received(Generic[Kept]):
    """A received record.

    It expires at ``until`` on the monotonic clock. ``confirmed``: the device itself has sent or confirmed it.
    """

    record: Kept
    until: float
    confirmed: bool


@dataclass(slots=True)
class _Device:
    online: bool | None = None
    spoken: bool = False  # since this client is connected and the device online
    states: dict[str, _Received[State]] = field(default_factory=dict)
    health: _Received[Health] | None = None
    times: dict[tuple[str, str], str] = field(default_factory=dict)  # of the last message of each kind and pipeline
    pipelines: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Discard everything received so far."""
        self.states.clear()
        self.health, self.spoken = None, False

    def is_new(self, kind: str, pipeline: str, ts: str) -> bool:
        """Return whether the time of a message differs from that of the previous message.

        A bridge sends a stored message as if it were live.
        """
        before, self.times[kind, pipeline] = self.times.get((kind, pipeline)), ts
        return ts != before


class Standings:
    """All pipelines of all devices. Each method for a message returns the pipelines whose known state changed.

    ``live``: the message arrived as it was published; otherwise a broker has kept it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._devices: dict[str, _Device] = {}
        self._connected = False
        self._absent_until = 0.0  # until then the broker may send the messages that it kept
        self._rarely = LogThrottle(600.0)

    def connected(self, *, session: bool = False) -> None:
        """Start a connection. Retained messages follow; with a ``session``, messages of the absence come first."""
        self._connected, self._absent_until = True, self._clock() + CATCHING_UP if session else 0.0

    def disconnected(self) -> list[tuple[str, str]]:
        """Discard everything received so far."""
        if not self._connected:
            return []
        self._connected = False
        for device in self._devices.values():
            device.online = None
            device.forget()
        return [(name, pipeline) for name, device in self._devices.items() for pipeline in sorted(device.pipelines)]

    def status(self, name: str, *, online: bool, live: bool = True) -> list[tuple[str, str]]:
        """Set the status of a device.

        The status offline discards all states; a device that returns sends its states again.
        """
        device = self._devices.setdefault(name, _Device())
        self._caught_up(live=live)
        before, device.online = device.online, online
        if not online:
            device.forget()
            device.times.clear()
        return [] if before is online else [(name, pipeline) for pipeline in sorted(device.pipelines)]

    def state(self, name: str, pipeline: str, state: State, *, live: bool = True) -> list[tuple[str, str]]:
        """Set a state; the state is kept for later while the status of its device has not arrived yet."""
        device = self._devices.setdefault(name, _Device())
        self._caught_up(live=live)
        age = self._age(name, state, live=live)
        if self._catching_up and (age is None or age > LATE):
            return []  # a state during the absence; the current state follows later
        device.pipelines.add(pipeline)
        new = device.is_new("state", pipeline, state.ts)
        if age is not None and age > SILENT:
            device.states.pop(pipeline, None)
            device.silent.add(pipeline)
        elif device.online is not False:
            device.silent.discard(pipeline)
            device.states[pipeline] = self._said(device, state, age, live=live and new)
        return [] if device.online is None else [(name, pipeline)]

    def spoken(
        self, name: str, record: Result | Event | Health, pipeline: str = "", *, live: bool = True
    ) -> list[tuple[str, str]]:
        """Record a message that a device sends after its states: this confirms the states that a broker has kept."""
        device = self._devices.setdefault(name, _Device())
        self._caught_up(live=live)
        late = isinstance(record, (Result, Event)) and record.replay is not ABSENT
        age = self._age(name, record, live=live and not late)
        new = device.is_new(type(record).__name__, pipeline, record.ts)
        now = live and new and not late and not self._catching_up and (age is None or age <= FRESH)
        if isinstance(record, Health):
            old = age is not None and age > SILENT
            device.health = (
                None if old or device.online is False else self._said(device, record, age, live=live and new)
            )
        if not now or device.spoken or device.online is False:
            return []
        device.spoken = True
        found = [other for other, said in device.states.items() if not said.confirmed]
        for other in found:
            said = device.states[other]
            device.states[other] = _Received(said.record, said.until, confirmed=True)
        return [(name, other) for other in sorted(found)] if device.online else []

    def removed(self, name: str, pipeline: str) -> list[tuple[str, str]]:
        """Remove a pipeline after its state topic was cleared."""
        device = self._devices.get(name, _Device())
        known = pipeline in device.pipelines
        device.pipelines.discard(pipeline)
        device.states.pop(pipeline, None)
        return [(name, pipeline)] if known else []

    def forget(self, name: str, pipeline: str = "") -> list[tuple[str, str]]:
        """Forget everything of a pipeline, or of a device."""
        if not pipeline:
            gone = self._devices.pop(name, _Device())
            return [(name, each) for each in sorted(gone.pipelines)]
        changed = self.removed(name, pipeline)
        device = self._devices.get(name, _Device())
        device.silent.discard(pipeline)
        for key in [key for key in device.times if key[1] == pipeline]:
            del device.times[key]
        return changed

    def aged(self) -> list[tuple[str, str]]:
        """Return the pipelines with states that expired since the last call."""
        now, found = self._clock(), []
        for name, device in self._devices.items():
            for pipeline in [pipeline for pipeline, said in device.states.items() if said.until < now]:
                del device.states[pipeline]
                device.silent.add(pipeline)
                found.append((name, pipeline))
        return found

    def now(self, name: str, pipeline: str) -> Standing:
        """Return the current `Standing` of a pipeline."""
        device = self._devices.get(name, _Device())
        if not self._connected:
            return Standing(None, "disconnected")
        if not device.online:
            return Standing(None, "offline")
        if pipeline not in device.pipelines:
            return Standing(None, "removed")
        said = device.states.get(pipeline)
        if said is None or said.until < self._clock():
            return Standing(None, "silent" if said or pipeline in device.silent else "starting")
        if not said.confirmed:
            return Standing(None, "unconfirmed")
        return Standing(said.record) if said.record.reason is ABSENT else Standing(None, said.record.reason)

    def health(self, name: str) -> Health | None:
        """Return the health of a device; None if it is not known now."""
        device = self._devices.get(name, _Device())
        said = device.health
        known = self._connected and device.online and said is not None and said.confirmed
        return said.record if known and said is not None and said.until >= self._clock() else None

    def _said(self, device: _Device, record: Kept, age: float | None, *, live: bool) -> _Received[Kept]:
        confirmed = device.spoken or (live and (age is None or age <= FRESH))
        return _Received(record, self._clock() + SILENT - max(0.0, age or 0.0), confirmed)

    def _age(self, name: str, record: State | Health | Result | Event, *, live: bool) -> float | None:
        """Return the seconds since the record was sent; None if its time is not reliable."""
        if record.clock is not ABSENT:
            return None
        try:
            age = self._wall() - seconds(record.ts)
        except WireError:
            return None
        if live and not self._catching_up and age > SILENT and self._rarely.due(name):
            log.warning("%s: message arrived %.0f s late (a bridge held it back, or the clocks differ)", name, age)
        return age if age >= -FRESH else None

    def _caught_up(self, *, live: bool) -> None:
        """Stop catching up at the first retained message: a broker sends the queued messages of a session before it."""
        if not live:
            self._absent_until = 0.0

    @property
    def _catching_up(self) -> bool:
        return self._clock() < self._absent_until
