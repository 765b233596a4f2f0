"""Helpers that declare an action of ``edge-infer models``; each action is declared where it is implemented."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from edge_infer.config.places import DEFAULT_CONFIG

Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
Run: TypeAlias = Callable[[argparse.Namespace], int]


def add_action(actions: Actions, name: str, purpose: str, example: str, run: Run) -> argparse.ArgumentParser:
    """Return the action's parser, for more arguments; ``example`` follows its name, ``run`` implements it."""
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
