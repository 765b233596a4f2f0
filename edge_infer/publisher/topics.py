"""What leaves the device: the kinds of messages, their topics, and the limits of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from edge_infer.messages import ConfigStatus, Event, Health, Info, ModelStatus, Result, State
from edge_infer.publisher.announcement import Announcement

Kind = Literal["status", "info", "config", "model", "discovery", "state", "health", "event", "result"]

EXPIRY: Final = 180
"""Seconds after which a broker that speaks MQTT 5 forgets a state, a health or that the device is online, unless it is
said again."""
STATUS_AGAIN: Final = 60.0
"""Seconds after which the device says again that it is online, and a state again what holds."""
SMALL: Final = 1024
LARGE: Final = 16384


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind is published: ``record`` is the payload's schema (None: plain text), ``limit`` bytes at most."""

    record: type[Any] | None
    retained: bool
    limit: int
    expiry: int | None = None


RULES: Final[Mapping[Kind, Rule]] = {
    "status": Rule(None, retained=True, limit=SMALL, expiry=EXPIRY),
    "info": Rule(Info, retained=True, limit=LARGE),
    "config": Rule(ConfigStatus, retained=True, limit=LARGE),
    "model": Rule(ModelStatus, retained=True, limit=LARGE),
    "discovery": Rule(Announcement, retained=True, limit=LARGE),
    "state": Rule(State, retained=True, limit=SMALL, expiry=EXPIRY),
    "health": Rule(Health, retained=True, limit=LARGE, expiry=EXPIRY),
    "event": Rule(Event, retained=False, limit=SMALL),
    "result": Rule(Result, retained=False, limit=SMALL),
}
"""Retained kinds are published on connect in this order: the birth first."""


class Place(NamedTuple):
    """Where a message belongs: its kind, and the pipeline or model it is about, or the device's name elsewhere."""

    kind: Kind
    name: str = ""

    @property
    def rule(self) -> Rule:
        """How messages of this kind are published."""
        return RULES[self.kind]

    def topic(self, base: str) -> str:
        """The MQTT topic below ``base``, which is ``<prefix>/<device>``; that of discovery is elsewhere."""
        if self.kind == "discovery":
            return f"homeassistant/device/{self.name}/config"
        if self.kind == "model":
            return f"{base}/model/{self.name}"
        return f"{base}/{self.name}/{self.kind}" if self.name else f"{base}/{self.kind}"


STATUS: Final = Place("status")
HEALTH: Final = Place("health")
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"


def announced(topic: str) -> Place:
    """The place of an `Announce`, whose topic is ``info``, ``config`` or ``model/<name>``."""
    kind, _, name = topic.partition("/")
    places: Mapping[str, Place] = {"info": Place("info"), "config": Place("config"), "model": Place("model", name)}
    return places[kind]
