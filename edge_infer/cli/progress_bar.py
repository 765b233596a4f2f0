"""The progress bar of long commands."""

from __future__ import annotations

import sys
import time
from typing import Final

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
