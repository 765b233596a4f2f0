"""Arguments of commands: converters for ``type=``, actions of ``models``, points in time, options of a model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, get_args

from edge_infer.errors import ConfigError, ModelError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.yamlfile.units import parse_duration

if TYPE_CHECKING:  # most commands run no model
    from edge_infer.plan.records import ModelPlan

# Converters of command-line arguments, for ``type=`` in argparse.

T = TypeVar("T")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a function, so that argparse shows the text of its ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


# Helpers that declare an action of ``edge-infer models``. Each action is declared in the module that implements it.

Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
Run: TypeAlias = Callable[[argparse.Namespace], int]


def add_action(actions: Actions, name: str, purpose: str, example: str, run: Run) -> argparse.ArgumentParser:
    """Return the parser of the action, so that arguments can be added.

    ``example`` follows the action's name in its help, and ``run`` implements the action.
    """
    child = actions.add_parser(
        name, help=purpose, description=purpose, epilog=f"example: edge-infer models {name} {example}".rstrip()
    )
    child.set_defaults(do=run)
    return child


def add_config(child: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add ``--config`` to an action that works on a model store or a daemon."""
    told = f"configuration that names the store and the daemon; default: {DEFAULT_CONFIG}"
    child.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=told)
    return child


# Parser of points in time: ``8:45``, ``2026-11-25T08:45``, ``3m ago``.

CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a point in time that is not after ``now``, which has a time zone; raises ValueError for anything else.

    A time of day means the last moment at which the clock showed it. A date and time without a zone is in the zone of
    ``now``.
    """
    moment = _parsed(text.strip(), now)
    if moment > now:
        raise ValueError(f"{text} is in the future; the time is {now:%Y-%m-%d %H:%M:%S}")
    return moment


def _parsed(text: str, now: datetime) -> datetime:
    if clock := CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        moment = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return moment if moment <= now else moment - timedelta(days=1)
    try:
        if text.endswith(" ago"):
            return now - timedelta(seconds=parse_duration(text[:-4].strip()))
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"a time is one of the day (8:45, 08:45:30), a date with it (2026-11-25T08:45) or how long ago (3m ago), "
            f"not {text!r}"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)


# Options of commands that run a model file; they take precedence over its manifest.


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--labels``, ``--threshold``, ``--task`` and ``--decoder``."""
    from edge_infer.contract.messages import Task

    parser.add_argument("--labels", metavar="F", help="file with one label a line, instead of the model's own")
    parser.add_argument("--threshold", metavar="X", type=_score, help="lowest score, 0 to 1; for anomalies a distance")
    parser.add_argument("--task", metavar="T", choices=get_args(Task), help=" or ".join(get_args(Task)))
    parser.add_argument("--decoder", metavar="D", help="model family, if the file does not identify it")


def resolve_model(model: str, args: argparse.Namespace | None = None) -> ModelPlan:
    """Return the plan of a model that works here, with the options in ``args``.

    Raises `ModelError` and `StartError`, and `ConfigError` if one of these options does not fit the model.
    """
    from edge_infer.models.request import ModelRequest
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
