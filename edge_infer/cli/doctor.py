"""``edge-infer doctor``: report the features that this board offers and lacks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from edge_infer.cli.owner import act_as_owner_of
from edge_infer.cli.say import say
from edge_infer.config.places import DEFAULT_CONFIG, hinted
from edge_infer.doctor.daemon import daemon
from edge_infer.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {DEFAULT_CONFIG}, if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="show every sandbox rule of every process, as the kernel enforces it here",
    )
    parser.epilog = "example: edge-infer doctor"


def run(args: argparse.Namespace) -> int:
    """Print one line a finding; return 1 if a finding keeps the daemon from working, else 0."""
    config = (args.config or DEFAULT_CONFIG).absolute()
    running = [] if args.sandbox else [daemon(config)]
    identity = act_as_owner_of(args, hinted(config))
    from edge_infer.doctor.examination import examine
    from edge_infer.doctor.user import user
    from edge_infer.doctor.walls import each_wall

    if args.config and not args.config.exists():
        raise ConfigError(f"{args.config} does not exist")
    failed = False
    for finding in chain(running, user(identity), each_wall() if args.sandbox else examine(config)):
        say([json.dumps(asdict(finding)) if args.json else finding])
        failed = failed or finding.level == "fail"
    return 1 if failed else 0
