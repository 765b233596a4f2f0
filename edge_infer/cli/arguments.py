"""Arguments of commands: converters for ``type=``, actions of ``models``, points in time."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.yamlfile.units import parse_duration

# Converters of command-line arguments, for ``type=`` in argparse.

T = TypeVar("T")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a function that raises ValueError with a sentence so that argparse shows this sentence."""

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
