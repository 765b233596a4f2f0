"""What the processes say of their sandbox, and the engine of its runtime: once, in their first report after a start.

Both leave the device with ``info``. Later reports could say something else each time, and carry data that way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from edge_infer.contract.codec import replace
from edge_infer.ipc.messages import EngineReport, PublisherReport, ReaderReport
from edge_infer.plan.announcement_limits import SAID_EVERY
from edge_infer.supervisor.processes.child import ChildProcess

Report = TypeVar("Report", EngineReport, PublisherReport, ReaderReport)


@dataclass(frozen=True, slots=True)
class _Said:
    """The sandbox rules, and the engine's runtime."""

    sandbox: Mapping[str, str]
    runtime: str


@dataclass(slots=True)
class _Process:
    """``first`` is of the start at ``started``; ``published`` is what leaves, since ``changed``."""

    started: float
    first: _Said
    published: _Said
    changed: float


class SandboxReports:
    """Keeps the first report of each process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, _Process] = {}

    def settled(self, child: ChildProcess, report: Report) -> Report:
        """Return the report with what the process said first after its start.

        What leaves follows at once after the first start and after `renew`, and else once in `SAID_EVERY`: a process
        could end itself to say something else.
        """
        name, now = child.recipe.name, self._clock()
        said = _Said(report.sandbox, report.runtime if isinstance(report, EngineReport) else "")
        known = self._by_name.get(name)
        if known is None:
            known = self._by_name[name] = _Process(child.started, said, said, now)
        elif known.started != child.started:
            known.started, known.first = child.started, said
            if said != known.published and now >= known.changed + SAID_EVERY:
                known.published, known.changed = said, now
        if isinstance(report, EngineReport):
            return replace(report, sandbox=known.first.sandbox, runtime=known.first.runtime)
        return replace(report, sandbox=known.first.sandbox)

    def renew(self, name: str) -> None:
        """Let the next start of a process say something else: the supervisor has decided on it."""
        self._by_name.pop(name, None)

    def published(self, name: str) -> Mapping[str, str]:
        """Return the sandbox rules of a process as they leave the device."""
        known = self._by_name.get(name)
        return {} if known is None else known.published.sandbox

    def runtime(self) -> str:
        """Return the engine's runtime as it leaves the device."""
        known = self._by_name.get("engine")
        return "" if known is None else known.published.runtime
