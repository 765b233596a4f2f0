"""Commands that look at the running daemon again and again until something is so."""

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
    """What is known now, in lines; ``code`` is how it ended, None while it goes on; ``late`` when time is up."""

    lines: tuple[str, ...]
    code: int | None = None
    late: int = 1


def wait(look: Callable[[], Glimpse], timeout: float, hint: str, *, starting: bool = False) -> int:
    """Looks until there is a code, for ``timeout`` seconds at most; prints the last lines and returns the code.

    A daemon that does not answer is an error at the first look, but for one that may be ``starting``.
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
    except NotRunningError as error:  # it is being started, perhaps again
        return Glimpse((str(error),))
