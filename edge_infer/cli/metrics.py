"""``edge-infer metrics``: print the metrics of the running daemon in the text format of Prometheus."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.errors import EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.server import ask, find_socket


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer metrics | promtool check metrics"


def run(args: argparse.Namespace) -> int:
    """Return 0 if a daemon answered, else 1."""
    answer = ask(find_socket(args.config), {"do": "metrics"}, timeout=10.0)
    if "error" in answer:
        raise EdgeInferError(str(answer["error"]))
    say(decode(str, answer.get("metrics"), "answer.metrics").removesuffix("\n").split("\n"))
    return 0
