"""``edge-infer doctor``: report the features that this board offers and lacks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.as_owner import act_on
from edge_infer.cli.as_service import UNIT, failed_sockets, failing_unit, run_as_service, service_command, service_user
from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.contract.messages import SourceHealth
from edge_infer.doctor.finding import Finding, fail, ok, warn
from edge_infer.doctor.walls import each_wall, is_on_purpose
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG, config_option, start_command
from edge_infer.sandbox.selftest import ENFORCED
from edge_infer.supervisor.control.answers import CheckAnswer
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket
from edge_infer.supervisor.reload.watch import is_missing
from edge_infer.supervisor.status import Status, headline
from edge_infer.yamlfile.units import rough_duration

# Check of the daemon that runs with a configuration, from its own status.


def asked(config: Path) -> Status | Finding:
    """Return the daemon's status, or a finding with the reason why there is none.

    Call this before root changes to another user.
    """
    try:
        return decode(Status, ask(find_socket(config), {"do": "status"}, timeout=10.0))
    except NotRunningError as error:
        text, _, remedy = str(error).partition("; ")
        if config == DEFAULT_CONFIG and (fails := failing_unit()):
            return fail("daemon", f"{text}; {fails}", f"journalctl -u {UNIT} -n 20 shows why")
        return warn("daemon", text, remedy or f"start it with: {start_command(config)}")
    except EdgeInferError as error:
        return warn("daemon", str(error), "see its log")


def daemon(status: Status, config: Path = DEFAULT_CONFIG) -> Finding:
    """Check whether the daemon serves its configuration, and whether processes had to be restarted."""
    fact = f"runs for {rough_duration(status.uptime)}, {headline(status)}"
    remedies = []
    if status.config is not None and status.config.state == "rejected":
        remedies.append(f"see what to change: edge-infer check{config_option(config)}")
    restarted = [
        f"{name} {room.failures} time{'' if room.failures == 1 else 's'}"
        for name, room in status.rooms.items()
        if room.failures
    ]
    if restarted:
        fact += f"; restarted: {', '.join(restarted)}"
        remedies.append("its log shows why each ended")
    refused = (name for name, model in status.models.items() if model.state in {"rejected", "rolled_back"})
    if without := [name for name in refused if not status.models[name].sha]:
        again = f"edge-infer models retry {without[0]}{config_option(config)}"
        remedies.append(f"no model serves as {without[0]}: name another one in the configuration, or run: {again}")
    if any(_is_faulty(source) for source in status.sources.values()):
        remedies.append("see the sources below")
    held = [each for room in status.rooms.values() for each in room.walls.items()]
    open_walls = dict.fromkeys(wall for wall, text in held if not (text.startswith(ENFORCED) or is_on_purpose(text)))
    if open_walls:
        fact += f"; some processes run without {', '.join(open_walls)}: edge-infer status --json shows why"
    return warn("daemon", fact, "; ".join(remedies)) if remedies else ok("daemon", fact)


MAX_SOURCES: Final = 5
"""Maximum number of sources that have a line of their own."""


def sources(status: Status, config: Path = DEFAULT_CONFIG) -> Iterator[Finding]:
    """Yield a finding for each source that delivers nothing usable, and one for all sources beyond `MAX_SOURCES`."""
    faulty = [(name, source) for name, source in status.sources.items() if _is_faulty(source)]
    see = f"see edge-infer status{config_option(config)}"
    for name, source in faulty[:MAX_SOURCES]:
        text, _, remedy = (source.error or "").partition("; ")
        yield warn(f"source {name}", f"{source.state}, {text}" if text else source.state, remedy or see)
    if (more := len(faulty) - MAX_SOURCES) > 0:
        yield warn("sources", f"and {more} more", see)


def _is_faulty(source: SourceHealth) -> bool:
    """Return whether a source delivers nothing usable. The end of a file, or a recent start, is no fault."""
    return source.state in {"lost", "frozen"} or (source.state == "starting" and bool(source.error))


def _by_the_daemon(config: Path, status: Status) -> list[Finding] | None:
    """Return the daemon's findings about its configuration and its broker, because the daemon may see other files.

    Return None if the daemon runs another file or another program, or has ended.
    """
    try:
        request = {"do": "check", "config": str(config), "program": sys.prefix}
        file = _configuration(config, ask(find_socket(config), request))
    except EdgeInferError:
        return None
    return [file, broker(status)]


def broker(status: Status) -> Finding:
    """Check the daemon's connection to the broker, and whether messages wait in the outbox."""
    found, outbox = status.broker, status.outbox
    if found.connected:
        return warn("broker", found.text, "everything else is delivered") if found.faulty else ok("broker", found.text)
    if outbox is None:
        return warn("broker", found.text, "the outbox is not read yet")
    return warn("broker", found.text, f"{'results wait' if outbox.pending else 'no result waits'} in the outbox")


def _configuration(config: Path, answer: dict[str, Any]) -> Finding:
    """Return the finding about a configuration in the daemon's answer to a check; raises `EdgeInferError` without one.

    If the daemon cannot check now, return a warning: no other process could check instead of the daemon.
    """
    if "unread" in answer:
        return warn("configuration", str(answer["unread"]), "try again in a moment")
    if "busy" in answer:
        text, _, remedy = str(answer["busy"]).partition("; ")
        return warn("configuration", f"not checked: {text}", remedy)
    problems = decode(CheckAnswer, answer).problems
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        see = f"see all of them: edge-infer check{config_option(config)}"
        return fail("configuration", f"{count}, first {problems[0]}", see)
    return ok("configuration", f"{config} is valid, for the running daemon")


def sockets(failed: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each unit that no longer listens for the local page or its writer."""
    for unit in failed:
        remedy = f"run: sudo systemctl restart {unit}; its cause: journalctl -u {unit} -n 20"
        yield warn("page", f"{unit} has failed, so nothing answers there", remedy)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {DEFAULT_CONFIG}, if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="show every sandbox rule of each process of the running service, and the result of its test",
    )
    parser.add_argument("--as-service", action="store_true", help=argparse.SUPPRESS)  # root prints the kernel's log
    parser.epilog = "example: edge-infer doctor"


def run(args: argparse.Namespace) -> int:
    """Print one line a finding; return 1 if a finding keeps the daemon from working, else 0."""
    config = (args.config or DEFAULT_CONFIG).absolute()
    answer = asked(config)
    status = None if isinstance(answer, Finding) else answer
    running = [] if args.sandbox else _running(answer, config)
    judged = None if args.sandbox or status is None else _by_the_daemon(config, status)
    words = ["doctor", "--as-service", "-c", str(config), *(["--json"] if args.json else [])]
    command = None if args.sandbox or judged is not None else service_command(config, words)
    pids = [room.pid for room in status.rooms.values() if room.pid is not None] if status else []
    from edge_infer.doctor.refusals import refusals

    # Only root may read the kernel's log, and the user of the service may not ask systemd.
    logged = [] if args.as_service else list(refusals(pids))
    if config == DEFAULT_CONFIG and not (args.as_service or args.sandbox):
        logged = [*sockets(failed_sockets()), *logged]
    if command is not None:
        code = run_as_service(command)
        say(_line(finding, args) for finding in logged)
        return code
    service = service_user(config)  # as root
    identity = act_on(args, config)
    from edge_infer.doctor.examination import examine
    from edge_infer.doctor.machine import user

    if args.config and is_missing(args.config):
        raise ConfigError(f"{args.config} does not exist")
    failed = False
    examined = each_wall(status) if args.sandbox else examine(config, status=status, judged=judged)
    for finding in chain(running, user(identity, service), examined, logged):
        say([_line(finding, args)])
        failed = failed or finding.level == "fail"
    return 1 if failed else 0


def _running(answer: Status | Finding, config: Path) -> list[Finding]:
    return [answer] if isinstance(answer, Finding) else [daemon(answer, config), *sources(answer, config)]


def _line(finding: Finding, args: argparse.Namespace) -> str:
    return json.dumps(asdict(finding)) if args.json else str(finding)
