"""``edge-infer check``: validates a configuration, every model and every file it names, and touches nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_infer.config.places import DEFAULT_CONFIG
from edge_infer.config.plan import Plan


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}"
    )
    parser.epilog = "example: edge-infer check -c config.yaml"


def run(args: argparse.Namespace) -> int:
    """Prints every problem, one a line; 0 without any, else 2."""
    from edge_infer.config.compile import compile_config

    compiled = compile_config(args.config)
    for problem in compiled.problems:
        print(problem, flush=True)  # before the count, which goes to the other stream
    for warning in compiled.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if compiled.plan is None:
        count = len(compiled.problems)
        print(f"{args.config}: {_count(count, 'problem')}", file=sys.stderr)
        return 2
    print(f"{args.config}: valid ({_summary(compiled.plan)})", file=sys.stderr)
    return 0


def _summary(plan: Plan) -> str:
    parts = {"source": plan.sources, "model": plan.models(), "pipeline": plan.pipelines}
    return ", ".join(_count(len(items), noun) for noun, items in parts.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
