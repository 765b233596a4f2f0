"""What holds now: states and status put together, so that nobody acts on what a device said before it vanished.

A broker keeps what a device has said last, on its disk too, and gives it to whoever asks. So a retained message shows
what was said some time ago; only what comes from the device itself shows that it is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from edge_infer.codec import ABSENT
from edge_infer.errors import WireError
from edge_infer.messages import Event, Health, Reason, Result, State
from edge_infer.publisher.clock import seconds
from edge_infer.publisher.rarely import Rarely

log = logging.getLogger(__name__)

WhyNot = Reason | Literal["", "offline", "disconnected", "removed", "silent", "unconfirmed"]
"""Why nothing is known: what the state says, or the device is offline, we are not connected, the pipeline is gone, it
has not said its state for too long, or a broker has kept what it said and it has not spoken since. Empty if known."""
SILENT: Final = 180.0
"""Seconds after which a state or a health is void that was not said again; devices say it every 60 s."""
FRESH: Final = 60.0
"""Seconds that the time of a live message may be away from ours. One that is older has waited somewhere: in a session,
or at a bridge, and does not show that its device is there now."""
LATE: Final = 10.0
"""Seconds of age from which on a state is one of our absence, while the broker gives out what it has kept for us."""

CATCHING_UP: Final = 30.0
"""Seconds that this lasts at most, where nothing is retained that would show its end."""

Kept = TypeVar("Kept", State, Health)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a pipeline now: its state, or None and why."""

    state: State | None
    why_not: WhyNot = ""

    @property
    def counts(self) -> Mapping[str, int] | None:
        """How many there are by label; None when that is not known, or when the task counts nothing."""
        counts = self.state.counts if self.state is not None else None
        return counts if isinstance(counts, Mapping) else None

    def present(self, label: str) -> bool | None:
        """Whether something with this label is there; None when that is not known."""
        counts = self.counts
        return None if counts is None else counts.get(label, 0) > 0


@dataclass(frozen=True, slots=True)
class _Said(Generic[Kept]):
    """``until`` is when it is void, on the monotonic clock; ``confirmed``: the device itself has said it."""

    record: Kept
    until: float
    confirmed: bool


@dataclass(slots=True)
class _Device:
    online: bool | None = None
    spoken: bool = False  # since we are connected and it is online
    states: dict[str, _Said[State]] = field(default_factory=dict)
    health: _Said[Health] | None = None
    times: dict[tuple[str, str], str] = field(default_factory=dict)  # of the last message of each kind and pipeline
    pipelines: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Nothing that was said before counts from here on."""
        self.states.clear()
        self.health, self.spoken = None, False

    def is_new(self, kind: str, pipeline: str, ts: str) -> bool:
        """Whether it is not what came last: a bridge gives out as live what the broker behind it has on its disk."""
        before, self.times[kind, pipeline] = self.times.get((kind, pipeline)), ts
        return ts != before


class Standings:
    """All pipelines of all devices. Whatever it is told, it answers with the pipelines of which there is news.

    ``live`` is what came as it was published, ``not live`` what a broker has kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._devices: dict[str, _Device] = {}
        self._connected = False
        self._absent_until = 0.0  # until then a broker may give out what it has kept for us
        self._rarely = Rarely(600.0)

    def connected(self, *, session: bool = False) -> None:
        """Everything retained comes now; with a ``session``, what came in our absence comes before."""
        self._connected, self._absent_until = True, self._clock() + CATCHING_UP if session else 0.0

    def disconnected(self) -> list[tuple[str, str]]:
        """Nothing that was said before counts from here on."""
        if not self._connected:
            return []
        self._connected = False
        for device in self._devices.values():
            device.online = None
            device.forget()
        return [(name, pipeline) for name, device in self._devices.items() for pipeline in sorted(device.pipelines)]

    def status(self, name: str, *, online: bool, live: bool = True) -> list[tuple[str, str]]:
        """What a device said before it went offline is void, also when it comes back: it says it again."""
        device = self._devices.setdefault(name, _Device())
        self._caught_up(live=live)
        before, device.online = device.online, online
        if not online:
            device.forget()
            device.times.clear()
        return [] if before is online else [(name, pipeline) for pipeline in sorted(device.pipelines)]

    def state(self, name: str, pipeline: str, state: State, *, live: bool = True) -> list[tuple[str, str]]:
        """A state is kept for later while the status of its device has not come yet."""
        device = self._devices.setdefault(name, _Device())
        self._caught_up(live=live)
        age = self._age(name, state, live=live)
        if self._catching_up and (age is None or age > LATE):
            return []  # it held at some time of our absence; what holds now comes after these
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
        """A device says this after its states: those that a broker has kept are what it says now."""
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
            device.states[other] = _Said(said.record, said.until, confirmed=True)
        return [(name, other) for other in sorted(found)] if device.online else []

    def removed(self, name: str, pipeline: str) -> list[tuple[str, str]]:
        """The topic of the state was cleared."""
        device = self._devices.get(name, _Device())
        known = pipeline in device.pipelines
        device.pipelines.discard(pipeline)
        device.states.pop(pipeline, None)
        return [(name, pipeline)] if known else []

    def aged(self) -> list[tuple[str, str]]:
        """Pipelines that have been silent for too long since the last call."""
        now, found = self._clock(), []
        for name, device in self._devices.items():
            for pipeline in [pipeline for pipeline, said in device.states.items() if said.until < now]:
                del device.states[pipeline]
                device.silent.add(pipeline)
                found.append((name, pipeline))
        return found

    def now(self, name: str, pipeline: str) -> Standing:
        """What is known of a pipeline."""
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
        """How a device does; None when that is not known now."""
        device = self._devices.get(name, _Device())
        said = device.health
        known = self._connected and device.online and said is not None and said.confirmed
        return said.record if known and said is not None and said.until >= self._clock() else None

    def _said(self, device: _Device, record: Kept, age: float | None, *, live: bool) -> _Said[Kept]:
        confirmed = device.spoken or (live and (age is None or age <= FRESH))
        return _Said(record, self._clock() + SILENT - max(0.0, age or 0.0), confirmed)

    def _age(self, name: str, record: State | Health | Result | Event, *, live: bool) -> float | None:
        """Seconds since it was said; None where its time is not to be believed."""
        if record.clock is not ABSENT:
            return None
        try:
            age = self._wall() - seconds(record.ts)
        except WireError:
            return None
        if live and not self._catching_up and age > SILENT and self._rarely.due(name):
            log.warning("%s: a message is %.0f s old as it arrives: it waited at a bridge, or clocks differ", name, age)
        return age if age >= -FRESH else None

    def _caught_up(self, *, live: bool) -> None:
        """A broker gives out what is retained after what it has kept for a session."""
        if not live:
            self._absent_until = 0.0

    @property
    def _catching_up(self) -> bool:
        return self._clock() < self._absent_until
