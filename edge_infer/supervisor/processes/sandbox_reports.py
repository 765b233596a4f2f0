"""What each process reports about its sandbox, and the engine about its runtime.

The device publishes both in ``info``. Only the first report after a start counts, because a compromised process could
change its later reports to send data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from edge_infer.contract.codec import replace
from edge_infer.ipc.messages import EngineReport, PublisherReport, ReaderReport
from edge_infer.plan.device_limits import SAID_EVERY
from edge_infer.supervisor.processes.child import ChildProcess

Report = TypeVar("Report", EngineReport, PublisherReport, ReaderReport)


@dataclass(frozen=True, slots=True)
class _SandboxFacts:
    """The reported sandbox rules, and the reported runtime of the engine."""

    sandbox: Mapping[str, str]
    runtime: str


@dataclass(slots=True)
class _Process:
    """Reports of one process.

    ``first`` was the first report after the start at ``started``. ``published`` is what the device has published since
    the time ``changed``.
    """

    started: float
    first: _SandboxFacts
    published: _SandboxFacts
    changed: float


class SandboxReports:
    """Keeps the first report of each process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, _Process] = {}

    def settled(self, child: ChildProcess, report: Report) -> Report:
        """Return the report with the sandbox and runtime that the process reported first after its start.

        The published values change at once after the first start and after `renew`, otherwise at most once in
        `SAID_EVERY`. Without this limit, a compromised process could send data by ending itself and reporting something
        else.
        """
        name, now = child.recipe.name, self._clock()
        said = _SandboxFacts(report.sandbox, report.runtime if isinstance(report, EngineReport) else "")
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
        """Accept other values after the next start of a process, because the supervisor has ordered this start."""
        self._by_name.pop(name, None)

    def published(self, name: str) -> Mapping[str, str]:
        """Return the sandbox rules of a process in the published form."""
        known = self._by_name.get(name)
        return {} if known is None else known.published.sandbox

    def runtime(self) -> str:
        """Return the engine's runtime in the published form."""
        known = self._by_name.get("engine")
        return "" if known is None else known.published.runtime
