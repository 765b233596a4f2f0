"""``edge-infer check``: validate a configuration, every model and every file it names, without changing anything."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.as_owner import act_on
from edge_infer.cli.as_service import run_as_service, service_command
from edge_infer.cli.output import say
from edge_infer.config.file_edit import read
from edge_infer.contract.codec import JsonValue, decode
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform import memfd
from edge_infer.platform.config_files import part_file, variables_of
from edge_infer.platform.environment import take
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.sandbox import privileges
from edge_infer.supervisor.control.answers import CheckAnswer
from edge_infer.supervisor.control.checks import counts
from edge_infer.supervisor.control.peer import RefusedError
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket

PATIENCE: Final = 60.0
"""Maximum seconds in which the daemon is asked again because it checks for other clients."""
PAUSE: Final = 0.3
"""Seconds between two of these requests."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default: {DEFAULT_CONFIG}"
    )
    parser.add_argument(
        "--draft", type=Path, metavar="NEW", help="check this text (-: standard input) as if it were the file already"
    )
    parser.add_argument("--part", metavar="NAME", help="with --draft: the text is for conf.d/NAME.yaml")
    parser.epilog = "example: edge-infer check -c config.yaml"


def run(args: argparse.Namespace) -> int:
    """Print every problem, one a line; return 0 without problems, 2 with problems, 1 if there was no check."""
    if args.part is not None and args.draft is None:
        raise ConfigError("--part needs --draft")
    draft = _draft(args.config.absolute(), args.draft, args.part)
    found: CheckAnswer | None = None
    other = "no daemon uses this file"
    silent, closed = "", False
    try:
        found = _ask_the_daemon(args.config, draft)
    except _OtherDaemonError as error:
        other = str(error)
    except NotRunningError as error:
        closed = isinstance(error.__cause__, PermissionError)
    except RefusedError:
        if draft is not None:  # this user's permissions say nothing about the service's
            raise
    except _NotNowError:
        raise
    except EdgeInferError as error:
        other, silent, closed = str(error), f"{error}; the check was made without the daemon", True
    if found is not None:
        return _print(args.config, found.problems, found.warnings, found.counts, ", for the running daemon")
    words = ["check", "-c", str(args.config.absolute()), *(("--draft", "-") if draft is not None else ())]
    words += ["--part", args.part] if args.part is not None else []
    if (command := service_command(args.config, words)) is not None:
        return run_as_service(command, None if draft is None else draft[1])
    act_on(args, args.config)
    if args.own_process and draft is not None:
        take(variables_of(draft[1]))
    from edge_infer.config.compile.compile import compile_config

    compiled = compile_config(args.config, draft=draft)
    plan = compiled.plan
    problems, warnings = [*map(str, compiled.problems)], [*map(str, compiled.warnings)]
    if closed and compiled.problems and all(problem.outside for problem in compiled.problems):
        raise EdgeInferError(
            f"{args.config}: the text is valid, but this user may neither ask the daemon nor read every file that it "
            "names; run: sudo edge-infer check"
        )
    if silent:
        warnings.append(silent)
    if plan is not None and privileges.capabilities() & privileges.READ_SEARCH:
        warnings.append(f"{other}, so the check ran as root: the service may not have access to all of these files")
    return _print(args.config, problems, warnings, counts(plan) if plan is not None else None)


def _draft(config: Path, draft: Path | None, part: str | None) -> tuple[Path, bytes] | None:
    """Return the path of the file for which a draft is meant, and the draft's text (``-``: from the standard input)."""
    if draft is None:
        return None
    return part_file(config, part), sys.stdin.buffer.read() if str(draft) == "-" else read(draft)


class _OtherDaemonError(EdgeInferError):
    """The daemon runs another file, or is another program."""


class _NotNowError(EdgeInferError):
    """The daemon cannot check the file now: it lacks memory, or checks for other clients all the time."""


def _ask_the_daemon(config: Path, draft: tuple[Path, bytes] | None) -> CheckAnswer:
    """Return the findings of the daemon that runs this configuration.

    Wait while the daemon checks for another client, because a check without it could have another outcome. Raises what
    `ask` raises, `_OtherDaemonError` and `_NotNowError`.
    """
    until = time.monotonic() + PATIENCE
    while "busy" in (answer := _answer_of_the_daemon(config, draft)):
        if time.monotonic() > until:
            raise _NotNowError(str(answer["busy"]))
        time.sleep(PAUSE)
    if "unread" in answer:
        raise _NotNowError(f"{answer['unread']}; try again in a moment")
    if "error" in answer:
        raise _OtherDaemonError(str(answer["error"]))
    return decode(CheckAnswer, answer)


def _answer_of_the_daemon(config: Path, draft: tuple[Path, bytes] | None) -> dict[str, Any]:
    request: dict[str, JsonValue] = {"do": "check", "config": str(config.absolute()), "program": sys.prefix}
    if draft is None:
        return ask(find_socket(config), request)
    with os.fdopen(memfd.create("draft"), "w+b", buffering=0) as file:  # a disk may be full
        memfd.write_all(file.fileno(), draft[1])
        file.seek(0)
        return ask(find_socket(config), {**request, "draft": str(draft[0])}, (file.fileno(),))


def _print(
    config: Path, problems: Sequence[str], warnings: Sequence[str], found: Mapping[str, int] | None, by: str = ""
) -> int:
    say(problems)  # before the count, which goes to the other output stream
    say((f"warning: {warning}" for warning in warnings), sys.stderr)
    if found is None:
        say([f"{config}: {_count(len(problems), 'problem')}"], sys.stderr)
        return 2
    summary = ", ".join(_count(number, noun) for noun, number in found.items())
    say([f"{config}: valid{by} ({summary})"], sys.stderr)
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
