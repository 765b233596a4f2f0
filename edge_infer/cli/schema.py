"""``edge-infer schema``: JSON Schema, from the definitions that the program itself checks with."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edge_infer.codec import schema
from edge_infer.messages import PAYLOADS

CONFIG = "config"


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("name", choices=[CONFIG, *PAYLOADS], metavar="NAME", help=", ".join([CONFIG, *PAYLOADS]))
    parser.epilog = (
        "example: edge-infer schema config > edge-infer.schema.json\n"
        "An editor checks config.yaml while you type if its first line is\n"
        "  # yaml-language-server: $schema=edge-infer.schema.json"
    )


def run(args: argparse.Namespace) -> int:
    """Prints one schema."""
    print(json.dumps(_schema(args.name), indent=2, ensure_ascii=False))
    return 0


def _schema(name: str) -> dict[str, Any]:
    if name != CONFIG:
        return schema(PAYLOADS[name], f"edge-infer {name}")
    from edge_infer.config.jsonschema import config_schema

    return config_schema()
