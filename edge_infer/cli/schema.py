"""``edge-infer schema``: print JSON Schema and AsyncAPI, from the definitions with which the program validates."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edge_infer.contract.codec import schema
from edge_infer.contract.messages import PAYLOADS

CONFIG = "config"
ASYNCAPI = "asyncapi"
NAMES = (CONFIG, *PAYLOADS, ASYNCAPI)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.epilog = (
        "example: edge-infer schema config > edge-infer.schema.json\n"
        "An editor checks config.yaml while you type if its first line is\n"
        "  # yaml-language-server: $schema=edge-infer.schema.json"
    )


def run(args: argparse.Namespace) -> int:
    """Print one schema."""
    print(json.dumps(_schema(args.name), indent=2, ensure_ascii=False))
    return 0


def _schema(name: str) -> dict[str, Any]:
    if name == ASYNCAPI:
        from edge_infer.contract.asyncapi import document

        return document()
    if name != CONFIG:
        return schema(PAYLOADS[name], f"edge-infer {name}")
    from edge_infer.config.schema.file import config_schema

    return config_schema()
