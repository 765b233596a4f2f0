"""Checks whether a subscriber has every retained message of a device; brokers may send only a part of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_infer.contract.codec import ABSENT, Absent
from edge_infer.contract.messages import Info, RetainedTopics
from edge_infer.contract.topics import Place, retained_names

NEEDED_ONLINE_ONLY = frozenset({"status", "health"})
"""Topics that a broker clears some time after a device has gone offline, as it does with all states."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The retained topics of a device that a client has received, compared with the expected ones.

    ``complete`` is None until an ``info`` of the device with the number of topics has arrived. ``missing`` names
    missing topics of the device itself and of the pipelines in ``info``; ``lacking`` is the number of all missing
    topics.
    """

    complete: bool | None
    received: int
    expected: int | None = None
    lacking: int = 0
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class _Topics:
    received: set[str] = field(default_factory=set)
    told: RetainedTopics | Absent = ABSENT
    pipelines: frozenset[str] = frozenset()
    offline: bool = False

    def snapshot(self) -> Snapshot:
        if self.told is ABSENT:
            return Snapshot(None, len(self.received), missing=() if "info" in self.received else ("info",))
        expected = retained_names(self.pipelines, ())
        missing = tuple(sorted(expected - self.received))
        gone = {name for name in expected if name in NEEDED_ONLINE_ONLY or name.endswith("/state")}
        complete = RetainedTopics.of(self.received) == self.told
        if self.offline and RetainedTopics.of(self.received | gone) == self.told:
            complete, missing = True, ()  # what has expired cannot come any more
        lacking = 0 if complete else max(self.told.count - len(self.received), len(missing))
        return Snapshot(complete, len(self.received), self.told.count, lacking, missing)


class Snapshots:
    """The retained topics received of each device since the connection began."""

    def __init__(self) -> None:
        self._devices: dict[str, _Topics] = {}

    def clear(self) -> None:
        """Forget everything: a new connection brings a new snapshot."""
        self._devices.clear()

    def forget(self, device: str, topic: str = "") -> None:
        """Forget a topic of a device, or the whole device."""
        if not topic:
            self._devices.pop(device, None)
        elif device in self._devices:
            self._devices[device].received.discard(topic)

    def has(self, device: str, place: Place) -> bool:
        """Return whether a message of this topic has arrived."""
        return device in self._devices and place.name_below in self._devices[device].received

    def take(self, device: str, place: Place, *, empty: bool) -> None:
        """Record a message; an empty one clears its topic."""
        if not place.rule.retained:
            return
        topics = self._devices.setdefault(device, _Topics())
        (topics.received.discard if empty else topics.received.add)(place.name_below)

    def status(self, device: str, *, online: bool) -> None:
        """Record whether a device is online."""
        self._devices.setdefault(device, _Topics()).offline = not online

    def info(self, device: str, info: Info) -> None:
        """Record the pipelines of a device, and the number and digest of its topics."""
        topics = self._devices.setdefault(device, _Topics())
        topics.told, topics.pipelines = info.topics, frozenset(info.pipelines)

    def of(self, device: str) -> Snapshot:
        """Return the snapshot of a device."""
        return self._devices.get(device, _Topics()).snapshot()

    def all(self) -> Mapping[str, Snapshot]:
        """Return the snapshot of every device that is known."""
        return {name: topics.snapshot() for name, topics in sorted(self._devices.items())}
