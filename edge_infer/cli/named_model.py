"""The model that a command line names, with the options that take precedence over its manifest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from edge_infer.cli.arguments import argument
from edge_infer.contract.messages import Task
from edge_infer.models.request import ModelRequest
from edge_infer.plan.records import ModelPlan


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--labels", metavar="F", help="file with one label a line, instead of the model's own")
    lowest = "lowest score, 0 to 1; for anomalies a distance"
    parser.add_argument("--threshold", metavar="X", type=argument(_score), help=lowest)
    parser.add_argument("--task", metavar="T", choices=get_args(Task), help=" or ".join(get_args(Task)))
    parser.add_argument("--decoder", metavar="D", help="model family, if the file does not identify it")


def probe_named(args: argparse.Namespace) -> ModelPlan:
    """Return the plan of ``args.model`` after a trial in a process of its own; raises `ModelError`, `StartError`."""
    from edge_infer.models.trials.probe import probe

    file = Path(args.model).absolute()
    request = ModelRequest(
        name=file.stem,
        file=str(file),
        labels_file=str(Path(args.labels).absolute()) if args.labels else None,
        threshold=args.threshold,
        task=args.task,
        decoder=args.decoder,
    )
    return probe(request)


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1e9:
        raise ValueError(f"{text!r} is not a number from 0 to 1, or, for anomalies, 0 or more")
    return score
