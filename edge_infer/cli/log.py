"""``edge-infer log``: show or change the log level of the running daemon."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.cli.arguments import argument
from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.logs import LEVELS
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.answers import LevelAnswer
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.yamlfile.units import parse_seconds, rough_duration


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--level", choices=LEVELS, help="set the level of the daemon's log; without this option, print the level"
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=argument(parse_seconds),
        help="then restore the level of the start; default: keep it until the next start",
    )
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer log --level debug --for 10m"


def run(args: argparse.Namespace) -> int:
    """Print the level; return 0, or exit code 1 without a daemon."""
    if args.seconds is not None and args.level is None:
        raise ConfigError("--for needs --level")
    answer = ask(find_socket(args.config), {"do": "log", "level": args.level, "seconds": args.seconds}, timeout=10.0)
    if "error" in answer:
        raise EdgeInferError(str(answer["error"]))
    found = decode(LevelAnswer, answer)
    until = "" if found.seconds is None else f" for {rough_duration(found.seconds)}, then {found.usual}"
    say([f"{found.level}{until}"])
    return 0
