"""A duration as an argument of a command."""

from __future__ import annotations

import argparse

from edge_infer.config.units import parse_duration


def duration(text: str) -> float:
    """Seconds, of a text as in the configuration; for ``type=`` of an argument."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
