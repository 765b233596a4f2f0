"""``edge-infer pause``: pause a pipeline of the running daemon, for a while or until ``edge-infer resume``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_infer.cli.arguments import argument
from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.errors import EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.yamlfile.units import parse_seconds


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pipeline", metavar="PIPELINE", help="pipeline of the configuration")
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument(
        "--for", dest="seconds", metavar="TIME", type=argument(parse_seconds), help="default: until it is resumed"
    )
    parser.epilog = "example: edge-infer pause door --for 1h"


def run(args: argparse.Namespace) -> int:
    """Return 0 when the daemon has paused the pipeline; raises `EdgeInferError` with the daemon's reason."""
    return tell(args.config, {"do": "pause", "pipeline": args.pipeline, "seconds": args.seconds})


def tell(config: Path, request: dict[str, Any]) -> int:
    """Send the request, and print the outcome; raises `EdgeInferError`."""
    answer = ask(find_socket(config), request, timeout=10.0)
    if "error" in answer:
        raise EdgeInferError(str(answer["error"]))
    say([decode(str, answer.get("done"), "answer.done")])
    return 0
