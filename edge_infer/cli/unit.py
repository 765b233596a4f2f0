"""``edge-infer unit``: print the systemd drop-in for this machine and configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_infer.cli.as_owner import act_on
from edge_infer.cli.output import say
from edge_infer.platform.paths import DEFAULT_CONFIG


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer unit -c /etc/edge-infer/config.yaml"


def run(args: argparse.Namespace) -> int:
    """Print the drop-in; for a wrong configuration print every problem and return 2."""
    config = args.config.absolute()
    act_on(args, config)
    from edge_infer.config.compile.compile import compile_config
    from edge_infer.sandbox.systemd_dropin import drop_in

    compiled = compile_config(config)
    say(compiled.problems, sys.stderr)
    if compiled.plan is None:
        return 2
    print(drop_in(compiled.plan, config))
    return 0
