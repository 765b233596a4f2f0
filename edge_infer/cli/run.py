"""``edge-infer run``: run the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from edge_infer.errors import StartError
from edge_infer.platform.logs import LEVELS, configure
from edge_infer.platform.paths import DEFAULT_CONFIG, hinted
from edge_infer.platform.permissions import closed_folder, user
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
    identity = give_up_root_for_state(config, lambda owner: hand_over(state_dir, owner))
    if identity is not None:
        log.info("started by root, running as %s (uid %d, gid %d)", identity.name, identity.uid, identity.gid)
    _check_way(state_dir)
    return Daemon(config, args.log_level).run()


def _check_way(state_dir: Path) -> None:
    """Raise `StartError` if this user may not enter a folder that contains the state directory, as the service's is."""
    closed = closed_folder(os.path.realpath(state_dir))
    if closed is not None and os.path.lexists(closed):
        raise StartError(
            f"{user()} may not enter the folder {closed}, which contains the state directory {state_dir}; if that is "
            "the service's, start the service: sudo systemctl start edge-infer; otherwise set another device.state_dir"
        )
