"""The Home Assistant announcement of a device: one retained message with all its entities.

It follows Home Assistant's MQTT discovery for devices and uses the abbreviated keys. Home Assistant's documentation
explains each key (https://www.home-assistant.io/integrations/mqtt/#discovery-payload).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from edge_infer.contract.codec import ABSENT, Absent, at_most, matching
from edge_infer.contract.messages import Label

KEY: Final = r"[A-Za-z0-9_.-]{1,250}"
OBJECT: Final = r"[A-Za-z0-9_-]{1,270}"

Key = Annotated[str, matching(KEY, 250)]
"""Name of an entity within its device. It stays the same during the life of the entity."""
ObjectId = Annotated[str, matching(OBJECT, 270)]
"""Name of a device in Home Assistant."""
Topic = Annotated[str, matching(r"[^+#\x00]+", 400)]
Template = Annotated[str, at_most(2500)]
"""Jinja template with which Home Assistant reads a value from a payload."""
Word = Annotated[str, matching(r"[a-z_]+", 40)]
Shown = Annotated[str, at_most(400)]
Platform = Literal["sensor", "binary_sensor", "event"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity. An entry with ``p`` alone removes the entity."""

    p: Platform
    name: Shown | Absent = ABSENT
    uniq_id: Annotated[str, matching(rf"{OBJECT}_{KEY}", 600)] | Absent = ABSENT
    stat_t: Topic | Absent = ABSENT
    val_tpl: Template | Absent = ABSENT
    dev_cla: Word | Absent = ABSENT
    stat_cla: Literal["measurement", "total_increasing"] | Absent = ABSENT
    unit_of_meas: Annotated[str, at_most(32)] | Absent = ABSENT
    ent_cat: Literal["diagnostic"] | Absent = ABSENT
    exp_aft: Literal[120] | Absent = ABSENT
    ops: Annotated[tuple[Label, ...], at_most(64)] | Absent = ABSENT
    evt_typ: Annotated[tuple[Word, ...], at_most(32)] | Absent = ABSENT
    json_attr_t: Topic | Absent = ABSENT
    json_attr_tpl: Template | Absent = ABSENT
    qos: Literal[1] | Absent = ABSENT


@dataclass(frozen=True, slots=True)
class Box:
    """The device that the entities belong to."""

    ids: tuple[ObjectId]
    name: Shown
    mf: Shown
    sw: Shown


@dataclass(frozen=True, slots=True)
class Origin:
    """The program that publishes the announcement."""

    name: Shown
    sw: Shown


@dataclass(frozen=True, slots=True)
class Availability:
    """A topic with the payload `online` or `offline`, directly or by a template."""

    t: Topic
    val_tpl: Template | Absent = ABSENT


@dataclass(frozen=True, slots=True)
class Announcement:
    """A device and its entities by key.

    The device is available when all of ``avty`` are. Diagnostic entities read their values from the topic ``stat_t``.
    """

    dev: Box
    o: Origin
    avty: tuple[Availability, Availability]
    avty_mode: Literal["all"]
    stat_t: Topic
    cmps: Annotated[Mapping[Key, Entity], at_most(1000)]
