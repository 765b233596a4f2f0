"""``edge-infer why``: why something was or was not told, from the running daemon's decision record."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.codec import decode
from edge_infer.config.places import DEFAULT_CONFIG
from edge_infer.config.units import parse_duration
from edge_infer.errors import EdgeInferError
from edge_infer.rooms import WhyAnswer
from edge_infer.supervisor.control import ask, find_socket


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--pipeline", metavar="P", help="only of this one")
    parser.add_argument("--last", metavar="TIME", type=_duration, default=600.0, help="how far back; default: 10m")
    parser.add_argument("--label", metavar="L", help="only about this label")
    parser.epilog = "example: edge-infer why --last 10m --label person"


def run(args: argparse.Namespace) -> int:
    """Prints a sentence for each decision; 0 when a daemon answered, else 1."""
    question = {"do": "why", "pipeline": args.pipeline, "last": args.last, "label": args.label}
    said = ask(find_socket(args.config), question, timeout=15.0)
    if "error" in said:
        raise EdgeInferError(str(said["error"]))
    answer = decode(WhyAnswer, said)
    for line in answer.lines or ("nothing was looked at that came close to being told",):
        print(line)
    return 0


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
