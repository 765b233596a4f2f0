"""Generates the AsyncAPI 3 document of a device's messages from the definitions with which the publisher validates.

Payloads are in JSON Schema draft 07, which AsyncAPI accepts without an extension. These schemas are open: a subscriber
that validates with them keeps working when a payload gains a field. ``edge-infer schema NAME`` prints the closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_infer import __version__
from edge_infer.contract.codec import JsonValue, schema
from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.contract.topics import OFFLINE, ONLINE, RULES, Kind, Place

VERSION: Final = "3.0.0"
CONTRACT: Final = "1"
"""The version of the contract: topics and payloads."""
JSON: Final = "application/json"

_BINDING: Final = "0.2.0"
_BASE: Final = "{prefix}/{device}"
_PARAMETERS: Final[Mapping[str, dict[str, JsonValue]]] = {
    "prefix": {
        "description": "`mqtt.prefix` of the configuration; it may have several levels",
        "default": "edge-infer",
    },
    "device": {
        "description": f"`device.id` of the configuration, of the form `{NAME_PATTERN}`",
        "examples": ["gate-3"],
    },
    "pipeline": {"description": "the name of a pipeline in the configuration", "examples": ["door"]},
    "model": {"description": "the name of a model in the configuration", "examples": ["faces"]},
    "object": {
        "description": "prefix and device, joined by _; other characters than letters, digits, - and _ became _",
        "examples": ["edge-infer_gate-3"],
    },
}
_NAMES: Final[Mapping[Kind, str]] = {
    "model": "{model}",
    "discovery": "{object}",
    "state": "{pipeline}",
    "event": "{pipeline}",
    "result": "{pipeline}",
}
_SUMMARIES: Final[Mapping[Kind, str]] = {
    "status": "Whether the device is online: the broker publishes offline for one that has disappeared",
    "info": (
        "Versions, board, pipelines and their models, the state of the sandbox rules, whether the runtime's fast path "
        "works"
    ),
    "config": "Whether the last configuration that was read is applied",
    "model": "Which file serves under the name of a model",
    "discovery": "With mqtt.discovery: homeassistant, the entities of the device, for Home Assistant",
    "state": "The current state, or the reason why it is unknown; it is valid while the status is online",
    "health": "The health of the device, every 30 s",
    "event": "A thing that began, changed or ended",
    "result": "The result of one frame",
}


def document() -> dict[str, Any]:
    """Return the whole document, with one channel, message and operation for each kind of message."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "edge-infer",
            "version": CONTRACT,
            "description": f"What a device publishes, as of edge-infer {__version__}. Payloads only ever gain fields.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {kind: _channel(kind) for kind in RULES},
        "operations": {f"publish-{kind}": _operation(kind) for kind in RULES},
        "components": {"messages": {kind: _message(kind) for kind in RULES}},
    }


def _channel(kind: Kind) -> dict[str, Any]:
    address = Place(kind, _NAMES.get(kind, "")).topic(_BASE)
    return {
        "address": address,
        "summary": _SUMMARIES[kind],
        "parameters": {key: dict(value) for key, value in _PARAMETERS.items() if f"{{{key}}}" in address},
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
    }


def _operation(kind: Kind) -> dict[str, Any]:
    rule = RULES[kind]
    binding: dict[str, Any] = {"qos": 1, "retain": rule.retained, "bindingVersion": _BINDING}
    if rule.expiry is not None:
        binding["messageExpiryInterval"] = rule.expiry
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{kind}"},
        "messages": [{"$ref": f"#/channels/{kind}/messages/{kind}"}],
        "bindings": {"mqtt": binding},
    }


def _message(kind: Kind) -> dict[str, Any]:
    record = RULES[kind].record
    if record is None:
        payload: Any = {"type": "string", "enum": [OFFLINE.decode(), ONLINE.decode()]}
        return {"name": kind, "summary": _SUMMARIES[kind], "contentType": "text/plain", "payload": payload}
    payload = _draft_07(schema(record))
    return {
        "name": kind,
        "summary": _SUMMARIES[kind],
        "contentType": JSON,
        "payload": payload,
        "bindings": {"mqtt": {"payloadFormatIndicator": 1, "contentType": JSON, "bindingVersion": _BINDING}},
    }


def _draft_07(value: Any) -> Any:
    """Return the schema converted to draft 07 and opened to unknown keys."""
    if isinstance(value, list):
        return [_draft_07(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _draft_07(item) for key, item in value.items() if key != "$schema"}
    if found.get("additionalProperties") is False:
        del found["additionalProperties"]
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
    return found
