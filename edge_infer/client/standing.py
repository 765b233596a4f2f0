"""What holds now: states and status put together, so that nobody acts on what a device said before it vanished."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from edge_infer.codec import ABSENT
from edge_infer.messages import Reason, State

WhyNot = Reason | Literal["", "offline", "disconnected", "removed", "silent"]
"""Why nothing is known: what the state says, or the device is offline, we are not connected, the pipeline is gone, or
it has not said its state for too long. Empty: it is known."""
SILENT: Final = 180.0
"""Seconds after which a state is void that was not said again; devices say it every 60 s."""


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


@dataclass(slots=True)
class _Device:
    online: bool | None = None
    states: dict[str, tuple[State, float]] = field(default_factory=dict)
    pipelines: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)


class Standings:
    """All pipelines of all devices. Whatever it is told, it answers with the pipelines of which there is news."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._devices: dict[str, _Device] = {}
        self._connected = False

    def connected(self) -> None:
        """Everything retained comes now."""
        self._connected = True

    def disconnected(self) -> list[tuple[str, str]]:
        """Nothing that was said before counts from here on."""
        if not self._connected:
            return []
        self._connected = False
        for device in self._devices.values():
            device.online = None
            device.states.clear()
        return [(name, pipeline) for name, device in self._devices.items() for pipeline in sorted(device.pipelines)]

    def status(self, name: str, *, online: bool) -> list[tuple[str, str]]:
        """What a device said before it went offline is void, also when it comes back: it says it again."""
        device = self._devices.setdefault(name, _Device())
        before, device.online = device.online, online
        if not online:
            device.states.clear()
        return [] if before is online else [(name, pipeline) for pipeline in sorted(device.pipelines)]

    def state(self, name: str, pipeline: str, state: State) -> list[tuple[str, str]]:
        """A state is kept for later while the status of its device has not come yet."""
        device = self._devices.setdefault(name, _Device())
        device.pipelines.add(pipeline)
        device.silent.discard(pipeline)
        if device.online is not False:
            device.states[pipeline] = state, self._clock()
        return [] if device.online is None else [(name, pipeline)]

    def removed(self, name: str, pipeline: str) -> list[tuple[str, str]]:
        """The topic of the state was cleared."""
        device = self._devices.get(name, _Device())
        known = pipeline in device.pipelines
        device.pipelines.discard(pipeline)
        device.states.pop(pipeline, None)
        return [(name, pipeline)] if known else []

    def aged(self) -> list[tuple[str, str]]:
        """Pipelines that have been silent for too long since the last call."""
        before, found = self._clock() - SILENT, []
        for name, device in self._devices.items():
            for pipeline in [pipeline for pipeline, (_, at) in device.states.items() if at < before]:
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
        if pipeline not in device.states:
            return Standing(None, "silent" if pipeline in device.silent else "starting")
        state, _ = device.states[pipeline]
        return Standing(state) if state.reason is ABSENT else Standing(None, state.reason)
