"""``edge-infer why``: explain why something was or was not reported, from the running daemon's decision record."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_infer.cli.arguments import argument, parse_moment
from edge_infer.cli.output import say
from edge_infer.contract.codec import decode
from edge_infer.errors import EdgeInferError
from edge_infer.ipc.messages import WhyAnswer
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.yamlfile.units import parse_seconds

AROUND: Final = 60.0
"""Seconds before and after a requested time."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--pipeline", metavar="P", help="only this pipeline")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--last", metavar="TIME", type=argument(parse_seconds), help="how far to look back; default: 10m")
    at = "a minute before and after 8:45, 2026-11-25T08:45 or '3m ago'"
    when.add_argument("--at", metavar="TIME", type=argument(_moment), help=at)
    parser.add_argument("--label", metavar="L", help="only this label")
    parser.epilog = "example: edge-infer why --at 8:45 --label person"


def run(args: argparse.Namespace) -> int:
    """Print a sentence for each decision; return 0 if a daemon answered, else 1."""
    since, until = _span(args.at, args.last)
    question = {"do": "why", "pipeline": args.pipeline, "since": since, "until": until, "label": args.label}
    said = ask(find_socket(args.config), question, timeout=15.0)
    if error := said.get("error"):
        raise EdgeInferError(str(error))
    answer = decode(WhyAnswer, said)
    say(answer.lines or ("no decisions of that time came close to being reported",))
    say(answer.notes, sys.stderr)
    return 0


def _span(at: float | None, last: float | None) -> tuple[float, float]:
    """Return start and end, in seconds since the epoch."""
    if at is not None:
        return at - AROUND, at + AROUND
    now = time.time()
    return now - (600.0 if last is None else last), now + AROUND


def _moment(text: str) -> float:
    return parse_moment(text, datetime.now().astimezone()).timestamp()
