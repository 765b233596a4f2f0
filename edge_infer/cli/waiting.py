"""Polling of the running daemon by commands that wait for a condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_infer.cli.say import say
from edge_infer.config.units import format_duration
from edge_infer.supervisor.control import NotRunningError

PAUSE: Final = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The state now, in lines; ``code`` is the exit code, None while the wait goes on; ``late`` is for a timeout."""

    lines: tuple[str, ...]
    code: int | None = None
    late: int = 1


def wait(look: Callable[[], Glimpse], timeout: float, hint: str, *, starting: bool = False) -> int:
    """Look until there is a code, for ``timeout`` seconds at most; print the last lines and return the code.

    A daemon that does not answer at the first look is an error, unless it may be ``starting``.
    """
    end, shown = time.monotonic() + timeout, Glimpse(())
    seen = _look(look) if starting else look()
    while seen.code is None and (left := end - time.monotonic()) > 0:
        if seen != shown and sys.stderr.isatty():
            say(seen.lines, sys.stderr)
        shown = seen
        time.sleep(min(PAUSE, left))
        seen = _look(look)
    code = seen.late if seen.code is None else seen.code
    say(seen.lines, sys.stderr if seen.code != 0 else sys.stdout)
    if seen.code is None:
        print(f"edge-infer: that is all after {format_duration(timeout)}; {hint}", file=sys.stderr)
    return code


def _look(look: Callable[[], Glimpse]) -> Glimpse:
    try:
        return look()
    except NotRunningError as error:  # the daemon may be starting or restarting
        return Glimpse((str(error),))
