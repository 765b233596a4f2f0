"""Repeated queries to the running daemon, for commands that wait for a condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.cli.output import say
from edge_infer.contract.codec import ABSENT, decode
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket
from edge_infer.supervisor.status import Status
from edge_infer.yamlfile.units import format_duration

PAUSE: Final = 0.5
"""Seconds between two queries."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The current state as lines.

    ``code`` is the exit code, None while the wait continues; ``late`` is the line for a timeout.
    """

    lines: tuple[str, ...]
    code: int | None = None
    late: int = 1


def wait(look: Callable[[], Glimpse], timeout: float, hint: str, *, starting: bool = False) -> int:
    """Query until there is an exit code, for ``timeout`` seconds at most; print the last lines and return the code.

    A daemon that does not answer the first query is an error, unless it may be ``starting``.
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
        print(f"edge-infer: timeout after {format_duration(timeout)}; {hint}", file=sys.stderr)
    return code


def _look(look: Callable[[], Glimpse]) -> Glimpse:
    try:
        return look()
    except NotRunningError as error:  # the daemon may be starting or restarting
        return Glimpse((str(error),))


# ``edge-infer status --wait``: wait until the daemon serves, or until it is clear that it will not.

READER: Final = "reader "
"""Prefix of a reader's name, before the name of its source. A lost source is not a failure of its reader."""
MOST_RESTARTS: Final = 2
"""Number of restarts of a process during the wait, a few seconds apart, that show that it cannot start."""
HINT: Final = "edge-infer status and the log show more"


def wait_until_it_serves(config: Path, timeout: float) -> int:
    """Wait and print; return 0 if the daemon serves, or if only a first frame is missing, else 1."""
    judge = Judge()

    def look() -> Glimpse:
        return judge.look(decode(Status, ask(find_socket(config), {"do": "status"}, timeout=10.0)))

    return wait(look, timeout, HINT, starting=True)


class Judge:
    """Judges a daemon repeatedly. Restarts of processes count from the first query on."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def look(self, status: Status) -> Glimpse:
        """Return a `Glimpse` with the missing parts of the daemon, one per line."""
        lost = tuple(self._ended_again(status))
        if lost:
            return Glimpse(lost, 1)
        if missing := tuple(_missing(status)):
            return Glimpse(missing)
        if idle := tuple(_without_outcome(status)):
            return Glimpse(idle, late=0)
        text = "every pipeline has an outcome" if status.pipelines else "the configuration has no pipeline"
        away = [name for name in set(status.feeds.values()) if _is_away(status, name)]
        return Glimpse((f"{text}{', or lacks its source: ' + ', '.join(sorted(away)) if away else ''}",), 0)

    def _ended_again(self, status: Status) -> Iterator[str]:
        for name, room in status.rooms.items():
            again = room.failures - self._failures.setdefault(name, room.failures)
            if again >= MOST_RESTARTS and not _is_away(status, name.removeprefix(READER)):
                trouble = f": {status.last_error.text}" if status.last_error is not None else ""
                yield f"the {name} ends repeatedly{trouble}"


def _missing(status: Status) -> Iterator[str]:
    """Yield the reasons why the daemon itself does not serve: parts that have not started yet, and errors."""
    if status.boot is None:
        yield "the engine is starting"
    if status.outbox is None:
        yield "the publisher is starting"
    elif status.outbox.degraded and not status.broker.connected:
        yield (
            f"the daemon can neither send results ({status.broker.text}) nor store them: the state directory "
            "cannot be written"
        )
    for name, model in status.models.items():
        if model.sha is None:
            yield f"model {name}: {model.state}{'' if model.reason is ABSENT else f': {model.reason}'}; no model serves"
    for name, pipeline in status.pipelines.items():
        if pipeline.error is not ABSENT:
            yield f"pipeline {name}: {pipeline.error}"


def _without_outcome(status: Status) -> Iterator[str]:
    """Yield the pipelines that have processed no frame although their sources are available."""
    for name, source in status.feeds.items():
        pipeline = status.pipelines.get(name)
        looked = pipeline is not None and (pipeline.produced > 0 or pipeline.latency_ms is not None)
        if not looked and name not in status.inactive and not _is_away(status, source):
            state = status.sources[source].state if source in status.sources else "starting"
            yield f"pipeline {name} waits for a frame of {source} ({state})"


def _is_away(status: Status, source: str) -> bool:
    return source in status.sources and status.sources[source].state in ("lost", "ended")
