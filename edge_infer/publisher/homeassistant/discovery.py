"""Announces the device to Home Assistant, and withdraws removed entities or the whole device."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from edge_infer import __version__
from edge_infer.contract.announcement import Announcement, Availability, Box, Entity, Key, ObjectId, Origin, Platform
from edge_infer.contract.codec import ABSENT, at_most, dumps, encode, replace
from edge_infer.contract.topics import HEALTH, STATUS, Place
from edge_infer.plan.records import Plan
from edge_infer.platform.paths import publisher_folder
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.homeassistant import templates
from edge_infer.publisher.homeassistant.entities import entities
from edge_infer.publisher.json_file import JsonFile
from edge_infer.publisher.state.retained import Retained

log = logging.getLogger(__name__)

FILE: Final = "discovery.json"
MOST_BYTES: Final = 1 << 20
ROOM: Final = 600
"""Bytes of an announcement in addition to its entities and the device's name and topic, rounded up."""


@dataclass(frozen=True, slots=True)
class Announced:
    """Name of the device in Home Assistant, and its announced entities by key."""

    device: ObjectId
    entities: Annotated[Mapping[Key, Platform], at_most(2000)] = field(default_factory=dict)


class Discovery:
    """Keeps the announcement consistent with the configuration.

    It stores what it has announced, so that this can be withdrawn after a restart. Home Assistant removes an entity
    if its entry contains only the platform, and a device if its message is empty. An entity that the message merely
    omits would stay there for ever.
    """

    def __init__(self, retained: Retained, egress: Egress) -> None:
        self._retained = retained
        self._egress = egress
        self._memory = _AnnouncedFile()
        self._current: Announced | None = None

    def apply(self, plan: Plan) -> None:
        """Announce the entities of this plan, or withdraw everything if discovery is off."""
        known = self._memory.load(plan)
        wanted = object_id(plan.mqtt.topic) if plan.discovery == "homeassistant" else None
        if known is not None and known.device != wanted:
            self._retained.set(Place("discovery", known.device), b"")
            known = None
        self._current = None
        if wanted is None:
            return
        gone = dict(known.entities) if known is not None else {}
        announcement = announce(plan, wanted, gone)
        present = {key: entity.p for key, entity in announcement.cmps.items() if entity.uniq_id is not ABSENT}
        self._current = Announced(wanted, present)
        self._memory.save(plan, Announced(wanted, {**gone, **present}))
        place = Place("discovery", wanted)
        if payload := self._egress.admit(place, announcement):
            self._retained.set(place, payload)

    def settle(self, plan: Plan) -> None:
        """Forget the withdrawals that the broker has acknowledged; to be called periodically."""
        waiting = {place.name for place in self._retained.places() if place.kind == "discovery"}
        if self._current is None and not waiting:
            self._memory.save(plan, None)
        elif self._current and self._retained.settled(Place("discovery", self._current.device)):
            self._memory.save(plan, self._current)


def object_id(topic: str) -> str:
    """Return the unique name of a device in Home Assistant, derived from its topic (`<prefix>/<device>`)."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", topic)


def announce(plan: Plan, device: str, known: Mapping[str, Platform], root: Path = Path("/")) -> Announcement:
    """Return the announcement with as many entities as fit, the most important first.

    It withdraws the ``known`` entities that no longer exist. ``root`` holds the kernel's files that show which sensors
    there are.
    """
    place = Place("discovery", device)
    wanted = {key: replace(entity, uniq_id=f"{device}_{key}") for key, entity in entities(plan, root)}
    gone = {key: Entity(platform) for key, platform in known.items() if key not in wanted}
    room = place.rule.limit - ROOM - 2 * len(device) - len(plan.device) - 3 * len(plan.mqtt.topic.encode())
    chosen: dict[str, Entity] = {}
    for key, entity in {**gone, **wanted}.items():
        room -= len(dumps({key: encode(entity)})) - 1
        if room < 0:
            break
        chosen[key] = entity
    if left := len(gone) + len(wanted) - len(chosen):
        log.warning(
            "the announcement to Home Assistant has space for %d entities only; %d are missing there, the first one is "
            "%s (name fewer labels in the pipelines, or move pipelines to another device)",
            len(chosen), left, list({**gone, **wanted})[len(chosen)],
        )  # fmt: skip
    name = "edge-infer"
    box = Box((device,), plan.device, name, __version__)
    topic = plan.mqtt.topic
    health = HEALTH.topic(topic)
    there = Availability(STATUS.topic(topic)), Availability(health, templates.RECENT)
    return Announcement(box, Origin(name, __version__), there, "all", health, chosen)


class _AnnouncedFile:
    """The entities that Home Assistant may know, in a small file that is written when they change.

    The file is in the publisher's folder.
    """

    def __init__(self) -> None:
        self._known: Announced | None = None
        self._written: Announced | None = None
        self._loaded = False
        self._file = JsonFile(Announced, FILE, MOST_BYTES, "entities that are removed now may stay in Home Assistant")

    def load(self, plan: Plan) -> Announced | None:
        """Return the record of this process's last `save`, even if the write failed; before, the stored record."""
        if not self._loaded:
            self._loaded = True
            self._known = self._written = self._file.read(publisher_folder(plan.state_dir))
        return self._known

    def save(self, plan: Plan, new: Announced | None) -> None:
        """Store the record; with None delete it. A failed write is repeated with the next call."""
        self._known = new
        if new == self._written:
            return
        if self._file.write(publisher_folder(plan.state_dir), new):
            self._written = new
