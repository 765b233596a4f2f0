"""The JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from typing import Any

from edge_infer.config.schema import Config


def config_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12, from the same classes that the program validates with."""
    found = Config.model_json_schema()
    _close_names(found)
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **found, "title": "Configuration of edge-infer"}


def _close_names(part: Any) -> None:
    """Forbid names that do not match the pattern, wherever the user chooses names."""
    if isinstance(part, dict):
        if "patternProperties" in part:
            part["additionalProperties"] = False
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        _close_names(inner)
