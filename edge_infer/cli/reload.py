"""``edge-infer reload``: let the running daemon read its configuration now, and wait for the outcome."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.contract.messages import ConfigStatus
from edge_infer.errors import EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.server import ask, find_socket


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer reload -c /etc/edge-infer/config.yaml"


def run(args: argparse.Namespace) -> int:
    """Return 0 if applied, 2 if rejected; exit code 1 without a daemon, or if it cannot read the file now."""
    answer = ask(find_socket(args.config), {"do": "reload"})
    if "error" in answer:
        raise EdgeInferError(str(answer["error"]))
    status = decode(ConfigStatus, answer, "answer")
    if status.state == "applied":
        print(f"applied {status.digest[:8]}")
        return 0
    say(status.errors, sys.stderr)
    print("edge-infer: the configuration is rejected; the previous one stays active", file=sys.stderr)
    return 2
