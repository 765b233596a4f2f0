"""Decodes topics and payloads into records, also payloads of a device that is newer than this client."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from edge_infer.contract.codec import JsonValue, Record, decode, loads
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, NAME_PATTERN
from edge_infer.contract.topics import MAX_LARGE_MESSAGE_BYTES, RULES, Kind, Place
from edge_infer.errors import WireError

_OF_DEVICE: Final[Mapping[str, Kind]] = {"status": "status", "info": "info", "config": "config", "health": "health"}
_OF_PIPELINE: Final[Mapping[str, Kind]] = {"result": "result", "event": "event", "state": "state"}
_NAME: Final = re.compile(NAME_PATTERN)
_KEPT_BYTES: Final = 4 * MAX_MESSAGE_BYTES
"""Maximum bytes of a state or an event, which a client keeps. Later versions may add fields within this limit."""


def split(topic: str, prefix: str) -> tuple[str, Place] | None:
    """Return the device and the `Place` of a topic; None for a foreign topic, or for names that no device can have."""
    if not topic.startswith(f"{prefix}/"):
        return None
    device, *rest = topic.removeprefix(f"{prefix}/").split("/", 3)
    if not all(_NAME.fullmatch(word) for word in (device, *rest)):
        return None
    if len(rest) == 1 and rest[0] in _OF_DEVICE:
        return device, Place(_OF_DEVICE[rest[0]])
    if len(rest) == 2 and rest[0] == "model":
        return device, Place("model", rest[1])
    if len(rest) == 2 and rest[1] in _OF_PIPELINE:
        return device, Place(_OF_PIPELINE[rest[1]], rest[0])
    return None


def read(place: Place, payload: bytes) -> Any:
    """Return the record of a payload, without keys that a newer device may have added; raises `WireError`."""
    most = _KEPT_BYTES if place.kind in ("state", "event") else MAX_LARGE_MESSAGE_BYTES
    if len(payload) > most:
        raise WireError(f"it has more than {most} bytes")
    kind = RULES[place.kind].record
    assert kind is not None
    return decode(kind, _known(kind, loads(payload)))


def _known(kind: Any, value: JsonValue) -> JsonValue:
    """Return a value without the keys that the type ``kind`` does not define."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    origin = get_origin(kind)
    if _is_record(kind) and isinstance(value, dict):
        hints = _hints(kind)
        return {key: _known(hints[key], item) for key, item in value.items() if key in hints}
    if origin in (Union, types.UnionType) and isinstance(value, (dict, list)):
        holders = [option for option in get_args(kind) if _holds(option)]
        return _known(holders[0], value) if len(holders) == 1 else value
    if origin is tuple and isinstance(value, list) and get_args(kind)[1:] == (...,):
        return [_known(get_args(kind)[0], item) for item in value]
    if origin is not None and isinstance(value, dict) and _is_mapping(origin):
        return {key: _known(get_args(kind)[1], item) for key, item in value.items()}
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return {name.rstrip("_"): hint for name, hint in get_type_hints(kind, include_extras=True).items()}


def _holds(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return _is_record(kind) or get_origin(kind) is tuple or _is_mapping(get_origin(kind))


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)
