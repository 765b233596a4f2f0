"""Health message of the device, composed from the reports of the engine, the outbox, the egress guard and the board."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import (
    BoardHealth,
    DriftHealth,
    EgressHealth,
    GovernorHealth,
    Health,
    Latency,
    OutboxHealth,
    PipelineHealth,
    SourceHealth,
    timestamp,
)
from edge_infer.ipc.messages import EngineReport
from edge_infer.plan.device_limits import HEALTH_EVERY, MAX_COUNT, MAX_LATENCY, MAX_RATE
from edge_infer.plan.records import PipelinePlan, Plan, SourcePlan
from edge_infer.platform.board import ProcessorLoad, hottest, memory_used, throttled
from edge_infer.publisher.state.unknown_states import NO_BOOT

# Health of the board, read from the kernel's files.


class Board:
    """Reads temperature, memory, throttling, and the processor load since the previous reading.

    ``root`` holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._load = ProcessorLoad(root)

    def read(self) -> BoardHealth:
        """Read the current values; a value that the board does not provide is null."""
        return BoardHealth(
            cpu=self._load.since_last(),
            memory=memory_used(self._root),
            temperature=hottest(self._root),
            throttled=throttled(self._root),
        )


Facts = TypeVar("Facts", PipelineHealth, SourceHealth)

FIRST: Final = 1.0
_LIMITS: Final = {
    "fps": MAX_RATE,
    "rate": MAX_RATE,
    **dict.fromkeys(("dropped", "produced", "held_back", "faults"), MAX_COUNT),
}
ENGINE: Final = 10.0
"""Seconds for which the first health message waits for a report of the engine."""


class HealthClock:
    """Holds the engine's newest report, and decides when health is due: soon after a connection, then every 30 s.

    In between, other changes send the last message again with the same numbers of the engine. With new numbers, a
    compromised engine could send more data than the calculated limit.
    """

    def __init__(self, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        self.report: EngineReport | None = None
        self._governor: GovernorHealth | None = None
        self._watched = False
        self._last: Health | None = None
        self._board = board
        self._clock = clock
        self._due = clock() + HEALTH_EVERY
        self._again_at = math.inf
        self._wait_until = clock() + ENGINE

    def connected(self) -> None:
        """Make health due soon after a new connection, because subscribers wait for a first message."""
        if self._last is None:
            self._due = min(self._due, self._clock() + FIRST)
        else:
            self._again_at = min(self._again_at, self._clock() + FIRST)

    def restrained(self, governor: GovernorHealth | None) -> None:
        """Set the governor's state; a change makes health due soon."""
        if governor != self._governor:
            self._governor = governor
            if self._last is not None:
                self._last = replace(self._last, governor=ABSENT if governor is None else governor)
            self.connected()

    def watch(self, *, watched: bool) -> Health | None:
        """Set whether a person looks at pictures.

        Return the last message with this change; None if there was no message.
        """
        if watched == self._watched:
            return None
        self._watched = watched
        if self._last is None:
            self.connected()
            return None
        self._last = replace(self._last, ts=timestamp(time.time()), watched=watched or ABSENT)
        return self._last

    def again(self) -> Health | None:
        """Return the last message if it is to be sent again now."""
        if self._last is None or self._clock() < self._again_at:
            return None
        self._again_at = math.inf
        self._last = replace(self._last, ts=timestamp(time.time()))
        return self._last

    def due(self) -> bool:
        """Return whether health is due. If so, the next interval begins."""
        if self._clock() < self._due or (self.report is None and self._clock() < self._wait_until):
            return False
        self._due = self._clock() + HEALTH_EVERY
        return True

    def compose(self, plan: Plan, outbox: OutboxHealth, egress: EgressHealth) -> Health:
        """Compose the message. Without an engine it contains no pipelines and no sources."""
        report = self.report
        self._again_at = math.inf
        self._last = Health(
            v=1,
            ts=timestamp(time.time()),
            boot=report.boot if report else NO_BOOT,
            pipelines=_numbers(report.pipelines, plan.pipelines) if report else {},
            sources=_numbers(report.sources, plan.sources) if report else {},
            outbox=outbox,
            egress=egress,
            board=self._board.read(),
            governor=ABSENT if self._governor is None else self._governor,
            watched=self._watched or ABSENT,
            drift=(_drift(report.drift, plan.pipelines) if report else {}) or ABSENT,
        )
        return self._last


def _drift(said: Mapping[str, DriftHealth], known: Iterable[PipelinePlan]) -> dict[str, DriftHealth]:
    """Return the drift of the configured pipelines that watch for drift."""
    return {each.name: said[each.name] for each in known if each.drift is not None and each.name in said}


def _numbers(said: Mapping[str, Facts], known: Iterable[PipelinePlan | SourcePlan]) -> dict[str, Facts]:
    """Return the engine's numbers for the configured names, each within its limit.

    Error texts of the engine are removed; ``edge-infer status`` shows them.
    """
    names = {item.name for item in known}
    return {name: _bounded(replace(facts, error=ABSENT)) for name, facts in said.items() if name in names}


def _bounded(facts: Facts) -> Facts:
    changes: dict[str, Any] = {
        name: most
        for name, most in _LIMITS.items()
        if (number := getattr(facts, name, ABSENT)) is not ABSENT and number > most
    }
    if isinstance(facts, PipelineHealth):
        if facts.latency_ms is not None:
            p50, p95, p99 = (min(getattr(facts.latency_ms, each), MAX_LATENCY) for each in ("p50", "p95", "p99"))
            changes["latency_ms"] = Latency(p50, p95, p99)
        if facts.motion is not ABSENT:
            changes["motion"] = replace(facts.motion, still=min(facts.motion.still, MAX_COUNT))
    return replace(facts, **changes) if changes else facts
