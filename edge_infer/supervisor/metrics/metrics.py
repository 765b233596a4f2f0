"""Metrics of a running daemon: collected all the time, and written when the configuration names a file."""

from __future__ import annotations

import math
import time
from pathlib import Path

from edge_infer.plan.records import MetricsPlan, Plan
from edge_infer.supervisor.metrics.collector import Collector
from edge_infer.supervisor.metrics.metrics_file import MetricsFile
from edge_infer.supervisor.metrics.text import render
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.reload.reload import Reload
from edge_infer.supervisor.rollout.rollout import ModelRollout


class MetricsWriter:
    """Off until a plan names a file. The file may change at any time."""

    def __init__(self, house: ProcessSupervisor, swap: ModelRollout, reload: Reload, board: Path) -> None:
        """Set up; the temperature of the board is read below ``board``."""
        self._house = house
        self._collector = Collector(house, swap, reload, board)
        self._plan: MetricsPlan | None = None
        self._file: MetricsFile | None = None
        self._due = math.inf

    def due(self) -> float:
        """Return the monotonic time of the next `look`."""
        return self._due

    def look(self, plan: Plan | None) -> None:
        """Follow the reports; write the file when it is due."""
        self._collector.follow()
        wanted = plan.metrics if plan is not None else None
        if wanted != self._plan:
            self._change(wanted)
        now = time.monotonic()
        if self._plan is not None and self._file is not None and now >= self._due:
            self._due = now + self._plan.every
            self._file.write(self.text())

    def text(self) -> str:
        """Return the current metrics in the text format of Prometheus."""
        return render(self._collector.families())

    def close(self) -> None:
        """Remove the file, because a stopped daemon has no metrics. May be called twice."""
        self._change(None)

    def _change(self, wanted: MetricsPlan | None) -> None:
        if self._file is not None and (wanted is None or wanted.file != str(self._file.path)):
            self._file.remove()
            self._file = None
        if self._file is None and wanted is not None:
            self._file = MetricsFile(Path(wanted.file), self._house.note)
        self._plan, self._due = wanted, math.inf if wanted is None else 0.0
