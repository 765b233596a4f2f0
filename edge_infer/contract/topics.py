"""Kinds of outgoing messages, their topics and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from edge_infer.contract.announcement import Announcement
from edge_infer.contract.messages import (
    MAX_MESSAGE_BYTES,
    ConfigStatus,
    Event,
    Health,
    Info,
    ModelStatus,
    Result,
    State,
)

Kind = Literal["status", "info", "config", "model", "discovery", "state", "health", "event", "result"]

EXPIRY: Final = 180
"""Seconds after which an MQTT 5 broker deletes a state, a health message or the online status, unless it is
repeated."""
STATUS_AGAIN: Final = 60.0
"""Interval in seconds at which the device repeats its online status and its current states."""
MAX_LARGE_MESSAGE_BYTES: Final = 16384


@dataclass(frozen=True, slots=True)
class Rule:
    """The publishing rule of one kind.

    ``record`` is the schema of the payload (None: plain text), ``limit`` its maximum bytes.
    """

    record: type[Any] | None
    retained: bool
    limit: int
    expiry: int | None = None


RULES: Final[Mapping[Kind, Rule]] = {
    "status": Rule(None, retained=True, limit=MAX_MESSAGE_BYTES, expiry=EXPIRY),
    "info": Rule(Info, retained=True, limit=MAX_LARGE_MESSAGE_BYTES),
    "config": Rule(ConfigStatus, retained=True, limit=MAX_LARGE_MESSAGE_BYTES),
    "model": Rule(ModelStatus, retained=True, limit=MAX_LARGE_MESSAGE_BYTES),
    "discovery": Rule(Announcement, retained=True, limit=MAX_LARGE_MESSAGE_BYTES),
    "state": Rule(State, retained=True, limit=MAX_MESSAGE_BYTES, expiry=EXPIRY),
    "health": Rule(Health, retained=True, limit=MAX_LARGE_MESSAGE_BYTES, expiry=EXPIRY),
    "event": Rule(Event, retained=False, limit=MAX_MESSAGE_BYTES),
    "result": Rule(Result, retained=False, limit=MAX_MESSAGE_BYTES),
}
"""Retained kinds are published in this order after a connect, the ``online`` status first."""
OUTCOMES: Final = frozenset[Kind]({"result", "event", "state"})
"""The kinds that carry results of a model. The other kinds describe the device."""


class Place(NamedTuple):
    """Address of a message: its kind, and the pipeline or model that it is about.

    For discovery, the name is that of the device.
    """

    kind: Kind
    name: str = ""

    @property
    def rule(self) -> Rule:
        """The rule for messages of this kind."""
        return RULES[self.kind]

    def topic(self, base: str) -> str:
        """Return the MQTT topic below ``base``, which is ``<prefix>/<device>``.

        The topic of discovery is not below ``base``.
        """
        if self.kind == "discovery":
            return f"homeassistant/device/{self.name}/config"
        return f"{base}/{self.name_below}"

    @property
    def name_below(self) -> str:
        """The topic below the topic of the device."""
        if self.kind == "model":
            return f"model/{self.name}"
        return f"{self.name}/{self.kind}" if self.name else self.kind


def retained_names(pipelines: Iterable[str], models: Iterable[str]) -> set[str]:
    """Return the names of all retained topics below the topic of a device that has these pipelines and models."""
    places = [Place("status"), Place("info"), Place("config"), Place("health")]
    places += [Place("state", name) for name in pipelines] + [Place("model", name) for name in models]
    return {place.name_below for place in places}


STATUS: Final = Place("status")
HEALTH: Final = Place("health")
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"


def announced(topic: str) -> Place:
    """Return the place of an `Announce` with the topic ``info``, ``config`` or ``model/<name>``."""
    kind, _, name = topic.partition("/")
    places: Mapping[str, Place] = {"info": Place("info"), "config": Place("config"), "model": Place("model", name)}
    return places[kind]
