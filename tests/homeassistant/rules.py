"""What Home Assistant accepts as an announcement, transcribed from its MQTT integration (2026.2), in its short keys.

Facts only: which keys an entity of each platform may have, which must be there, and what may be said together.
``check.py`` tries the same messages on the program itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, StrictUndefined

OF_DEVICE = {
    *("dev", "o", "cmps", "avty", "avty_mode", "avty_t", "avty_tpl", "pl_avail", "pl_not_avail", "stat_t", "cmd_t"),
    *("qos", "e"),
}
OF_DEV = {"ids", "cns", "mf", "mdl", "mdl_id", "name", "hw", "sn", "sw", "via_device", "sa", "cu"}
OF_ORIGIN = {"name", "sw", "url"}
COMMON = {
    *("p", "name", "uniq_id", "stat_t", "val_tpl", "qos", "e", "en", "ent_cat", "ic", "json_attr_t", "json_attr_tpl"),
    *("def_ent_id", "dev_cla", "avty", "avty_mode", "avty_t", "avty_tpl", "pl_avail", "pl_not_avail"),
}
KEYS: Mapping[str, set[str]] = {
    "sensor": COMMON | {"exp_aft", "frc_upd", "ops", "sug_dsp_prc", "stat_cla", "unit_of_meas", "lrst_val_tpl"},
    "binary_sensor": COMMON | {"exp_aft", "frc_upd", "off_dly", "pl_off", "pl_on"},
    "event": COMMON | {"evt_typ"},
}
UNITS = {"temperature": {"°C", "°F", "K"}, "duration": {"d", "h", "min", "s", "ms", "μs"}}
"""Of those device classes of sensors that need one."""
BINARY_CLASSES = {"occupancy", "problem"}
STATE_CLASSES = {"measurement", "total", "total_increasing"}
TOPIC = re.compile(r"homeassistant/device/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")


def faults(topic: str, payload: Mapping[str, Any]) -> list[str]:
    """What Home Assistant would have against an announcement; nothing, if it takes all of it."""
    found = [] if TOPIC.fullmatch(topic) else [f"topic {topic}"]
    found += [f"key {key}" for key in payload.keys() - OF_DEVICE]
    found += [f"dev.{key}" for key in payload["dev"].keys() - OF_DEV] + ([] if payload["dev"]["ids"] else ["dev.ids"])
    found += [f"o.{key}" for key in payload["o"].keys() - OF_ORIGIN] + ([] if payload["o"]["name"] else ["o.name"])
    found += of_availability(payload)
    for key, entity in payload["cmps"].items():
        found += [f"{key}: {fault}" for fault in of_entity({"stat_t": payload.get("stat_t"), **entity}, key)]
    ids = [entity["uniq_id"] for entity in payload["cmps"].values() if "uniq_id" in entity]
    return found + ([] if len(ids) == len(set(ids)) else ["two entities with one unique id"])


def of_entity(entity: Mapping[str, Any], key: str) -> list[str]:
    """What is wrong with one entity; one with its platform alone is withdrawn."""
    platform, kind = entity["p"], entity.get("dev_cla")
    if platform not in KEYS:
        return [f"platform {platform}"]
    if entity.keys() <= {"p", "stat_t"}:
        return []
    found = [f"key {name}" for name in entity.keys() - KEYS[platform]]
    found += [f"{name} is missing" for name in ("uniq_id", "stat_t") if not entity.get(name)]
    if platform == "event" and not entity.get("evt_typ"):
        found.append("evt_typ is missing")
    if platform == "binary_sensor" and kind not in BINARY_CLASSES:
        found.append(f"class {kind}")
    if platform == "sensor":
        found += _of_sensor(entity, kind)
    if " " in key:
        found.append("a space in the key")
    for name in ("val_tpl", "json_attr_tpl"):
        environment().from_string(entity.get(name, ""))
    return found


def of_availability(payload: Mapping[str, Any]) -> list[str]:
    """What is wrong with where the device says that it is there."""
    found = [] if payload["avty_mode"] in ("all", "any", "latest") else ["avty_mode"]
    for each in payload["avty"]:
        found += [f"avty.{key}" for key in each.keys() - {"t", "val_tpl", "pl_avail", "pl_not_avail"}]
        environment().from_string(each.get("val_tpl", ""))
    return found + (["avty and avty_t"] if "avty_t" in payload else [])


def _of_sensor(entity: Mapping[str, Any], kind: str | None) -> list[str]:
    found, unit, state_class = [], entity.get("unit_of_meas"), entity.get("stat_cla")
    if "ops" in entity and (kind != "enum" or not entity["ops"] or unit or state_class):
        found.append("options belong to an enum without unit and state class")
    if kind is not None and kind != "enum" and unit not in UNITS[kind]:
        found.append(f"unit {unit} with class {kind}")
    if state_class is not None and state_class not in STATE_CLASSES:
        found.append(f"state class {state_class}")
    if unit is not None and not unit.strip():
        found.append("an empty unit")
    return found


def environment() -> Environment:
    """Jinja as Home Assistant has it, but for what we do not use; what is not defined is an error here."""
    made = Environment(undefined=StrictUndefined, autoescape=False)  # these are no web pages
    made.filters["to_json"] = _to_json
    made.globals["now"] = lambda: datetime.now(timezone.utc)
    made.globals["as_timestamp"] = _as_timestamp
    return made


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_timestamp(value: Any) -> float:
    moment: datetime = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value
    return moment.timestamp()


def render(template: str, payload: Any) -> str:
    """What an entity is shown of a payload; ``None``: not known."""
    return environment().from_string(template).render(value_json=payload)
