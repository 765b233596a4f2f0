"""``edge-infer resume``: end the pause of a pipeline of the running daemon."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.cli.pause import tell
from edge_infer.platform.paths import DEFAULT_CONFIG


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pipeline", metavar="PIPELINE", help="pipeline of the configuration")
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer resume door"


def run(args: argparse.Namespace) -> int:
    """Return 0 when the daemon has ended the pause; raises `EdgeInferError` with the daemon's reason."""
    return tell(args.config, {"do": "resume", "pipeline": args.pipeline})
