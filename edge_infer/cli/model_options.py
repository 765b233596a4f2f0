"""Options of commands that run a model file; they take precedence over its manifest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from edge_infer.contract.messages import Task
from edge_infer.errors import ConfigError, ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.plan.records import ModelPlan


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--labels``, ``--threshold``, ``--task`` and ``--decoder``."""
    parser.add_argument("--labels", metavar="F", help="file with one label a line, instead of the model's own")
    parser.add_argument("--threshold", metavar="X", type=_score, help="lowest score, 0 to 1; for anomalies a distance")
    parser.add_argument("--task", metavar="T", choices=get_args(Task), help=" or ".join(get_args(Task)))
    parser.add_argument("--decoder", metavar="D", help="model family, if the file does not identify it")


def resolve_model(model: str, args: argparse.Namespace | None = None) -> ModelPlan:
    """Return the plan of a model that works here, with the options in ``args``.

    Raises `ModelError` and `StartError`, and `ConfigError` if one of these options does not fit the model.
    """
    from edge_infer.models.trials.probe import probe

    file = Path(model).absolute()
    if args is None:
        return probe(ModelRequest(name=file.stem, file=str(file)))
    request = ModelRequest(
        name=file.stem,
        file=str(file),
        labels_file=str(Path(args.labels).absolute()) if args.labels else None,
        threshold=args.threshold,
        task=args.task,
        decoder=args.decoder,
    )
    try:
        return probe(request)
    except ModelError as error:
        at_fault = {error.key, "task"} if error.key in ("decoder", "threshold") else {error.key}  # both depend on task
        if any(getattr(args, key, None) is not None for key in at_fault):
            raise ConfigError(str(error)) from error
        raise


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1, or, for anomalies, 0 or more")
    return score
