"""The JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from typing import Any

from edge_infer.config.schema import Config


def config_schema() -> dict[str, Any]:
    """From the same classes that the program validates with; draft 2020-12."""
    found = Config.model_json_schema()
    for section in found["properties"].values():
        for form in section["anyOf"]:
            if "patternProperties" in form:  # names of the user's own, of this form only
                form["additionalProperties"] = False
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **found, "title": "Configuration of edge-infer"}
