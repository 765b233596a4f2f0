"""The JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from typing import Any

from edge_infer.config.schema import Config


def config_schema() -> dict[str, Any]:
    """From the same classes that the program validates with; draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "Configuration of edge-infer",
    }
