"""``edge-infer doctor``: report the features that this board offers and lacks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from edge_infer.cli.as_owner import act_as_owner_of
from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG, hinted
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket
from edge_infer.supervisor.status import Status, headline
from edge_infer.yamlfile.units import rough_duration

# Check of the daemon that runs with a configuration, from its own status.


def asked(config: Path) -> Status | Finding:
    """Return the daemon's status, or why there is none. Call this before root switches to another user."""
    try:
        return decode(Status, ask(find_socket(config), {"do": "status"}, timeout=10.0))
    except NotRunningError as error:
        text, _, remedy = str(error).partition("; ")
        return warn("daemon", text, remedy or "start it with: edge-infer run")
    except EdgeInferError as error:
        return warn("daemon", str(error), "see its log")


def daemon(status: Status) -> Finding:
    """Check whether it serves, and has restarted processes."""
    fact = f"runs for {rough_duration(status.uptime)}, {headline(status)}"
    again = [f"{name} {room.restarts} times" for name, room in status.rooms.items() if room.restarts]
    if again:
        return warn("daemon", f"{fact}; started again: {', '.join(again)}", "its log says why each ended")
    open_walls = [name for name, text in status.walls.items() if "not enforced" in text or "unavailable" in text]
    if open_walls:
        fact += f"; not all of it is behind {', '.join(open_walls)}: edge-infer status --json says why"
    return ok("daemon", fact)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {DEFAULT_CONFIG}, if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="show every sandbox rule of every process of the running service, with what was tried",
    )
    parser.epilog = "example: edge-infer doctor"


def run(args: argparse.Namespace) -> int:
    """Print one line a finding; return 1 if a finding keeps the daemon from working, else 0."""
    config = (args.config or DEFAULT_CONFIG).absolute()
    answer = asked(config)
    status = None if isinstance(answer, Finding) else answer
    running = [] if args.sandbox else [answer if isinstance(answer, Finding) else daemon(answer)]
    pids = [room.pid for room in status.rooms.values() if room.pid is not None] if status else []
    from edge_infer.doctor.refusals import refusals

    logged = list(refusals(pids))  # only root may read the kernel's log
    identity = act_as_owner_of(args, hinted(config))
    from edge_infer.doctor.examination import examine
    from edge_infer.doctor.machine import user
    from edge_infer.doctor.walls import each_wall

    if args.config and not args.config.exists():
        raise ConfigError(f"{args.config} does not exist")
    failed = False
    examined = each_wall(status) if args.sandbox else examine(config, status=status)
    for finding in chain(running, user(identity), examined, logged):
        say([json.dumps(asdict(finding)) if args.json else finding])
        failed = failed or finding.level == "fail"
    return 1 if failed else 0
