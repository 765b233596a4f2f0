"""Output on a terminal: lines, and a progress bar. Any part of a line may come from a camera, a model or a broker."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, TextIO

from edge_infer.platform.logs import printable


def say(lines: Iterable[object], file: TextIO | None = None) -> None:
    """Print each item as one line, without characters that control the terminal or look like a line break."""
    for line in lines:
        print(printable(str(line)), file=file, flush=True)


def print_nothing_more() -> None:
    """Discard all further standard output, because the reader of the pipe is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: object) -> None:
    """Print an error. Every line is marked as part of an error, and further lines are indented.

    A model on trial may choose the text of its errors, so none of their lines may look like the outcome of the command.
    """
    first, *further = str(error).split("\n")
    say([f"edge-infer: {first}", *(f"edge-infer:   {line}" for line in further)], sys.stderr)


def as_json(value: Any, **options: Any) -> str:
    """Return JSON with all control characters escaped. Letters of all languages stay unchanged."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


# The progress bar of long commands.

WIDTH: Final = 24
REDRAW: Final = 0.2
"""Minimum seconds between two states of the bar."""


class ProgressBar:
    """A bar on standard error, shown only on a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._drawn = float("-inf")

    def due(self) -> bool:
        """Return whether the bar is shown and has not just been drawn."""
        return self._shown and time.monotonic() - self._drawn >= REDRAW

    def draw(self, share: float, text: str) -> None:
        """Show a share from 0 to 1, and a text beside it."""
        if not self._shown:
            return
        self._drawn = time.monotonic()
        full = int(WIDTH * share)
        sys.stderr.write(f"\r\033[K[{'#' * full}{' ' * (WIDTH - full)}] {text}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the bar."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
