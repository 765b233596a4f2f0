"""``edge-infer run``: run the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from edge_infer.platform.logs import LEVELS, configure
from edge_infer.platform.paths import DEFAULT_CONFIG, hinted
from edge_infer.sandbox.change_user import give_up_root_for_state
from edge_infer.supervisor.daemon import Daemon
from edge_infer.supervisor.take_over import hand_over

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="default: %(default)s")
    parser.epilog = "example: edge-infer run -c config.yaml --log-level debug"


def run(args: argparse.Namespace) -> int:
    """Return 0 after SIGTERM or Ctrl-C; exit code 2 for a bad configuration, 3 if the daemon cannot start here."""
    configure("supervisor", args.log_level)
    config = args.config.absolute()
    state_dir = hinted(config).absolute()
    user = give_up_root_for_state(config, lambda identity: hand_over(state_dir, identity))
    if user is not None:
        log.info("started by root, running as %s (uid %d, gid %d)", user.name, user.uid, user.gid)
    return Daemon(config, args.log_level).run()
