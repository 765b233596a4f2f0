"""``edge-infer run``: the daemon, in the foreground."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.config.places import DEFAULT_CONFIG
from edge_infer.logs import LEVELS, configure
from edge_infer.supervisor.daemon import Daemon


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="default: %(default)s")
    parser.epilog = "example: edge-infer run -c config.yaml --log-level debug"


def run(args: argparse.Namespace) -> int:
    """0 after SIGTERM or Ctrl-C; 2 for a bad configuration, 3 when it cannot start here."""
    configure("supervisor", args.log_level)
    return Daemon(args.config.absolute(), args.log_level).run()
