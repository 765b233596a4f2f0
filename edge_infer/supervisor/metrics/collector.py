"""Collects the metrics: reports of the processes, values of the kernel, and counts of the supervisor.

`render` returns them in the text format of Prometheus. Metric labels come from the configuration, or are fixed words of
this program. No text that a model or a process chooses becomes a label.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal, get_args

from edge_infer import __version__
from edge_infer.contract.messages import SourceState
from edge_infer.ipc.drift import DRIFT_PARTS
from edge_infer.ipc.messages import LATENCY_BOUNDS, EngineReport, PublisherReport
from edge_infer.plan.records import Plan
from edge_infer.platform.board import hottest, throttled
from edge_infer.platform.clock import MADE, synchronised
from edge_infer.platform.process_use import OwnUse
from edge_infer.sandbox import missing
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.reload.reload import Reload
from edge_infer.supervisor.rollout.model_status import standing
from edge_infer.supervisor.rollout.rollout import ModelRollout

MEBIBYTE: Final = 20
"""Number of low bits of a process's memory size that are set to 0. The process reports the size itself and could hide
data in these bits."""
MOST_DRIFT: Final = 100.0
LOSSES: Final = ("full", "old", "handover", "unknown", "corrupt", "rejected", "rate", "too_large")
"""Reasons for lost messages. Their counters start at 0, so that a first loss shows as an increase."""
OUTCOMES: Final = ("looked", "still", "dropped", "failed")
SWAPS: Final = ("committed", "rolled_back")


class Collector:
    """Follows the counts of all processes, and composes the metric families on request."""

    def __init__(self, house: ProcessSupervisor, swap: ModelRollout, reload: Reload, board: Path) -> None:
        """Read temperature and throttling below ``board``."""
        self._house = house
        self._swap = swap
        self._reload = reload
        self._board = board
        self._counters = Counters()
        self._readers: set[str] = set()  # all that have ever existed
        self._own_use = OwnUse()
        self._engine: EngineReport | None = None
        self._publisher: PublisherReport | None = None

    def follow(self) -> None:
        """Add the counts of new reports. Call it often: if a process ends, its counts since the last call are lost."""
        engine, publisher = self._house.heard.engine, self._house.heard.publisher
        if engine is not None and engine is not self._engine:
            self._follow_engine(engine)
        if publisher is not None and publisher is not self._publisher:
            self._follow_publisher(publisher)
        self._engine, self._publisher = engine, publisher

    def _follow_engine(self, report: EngineReport) -> None:
        plan = self._swap.plan
        names = {each.name for each in plan.pipelines} if plan is not None else set()
        for name in names & report.counts.keys():
            counts = report.counts[name]
            start = (report.boot, counts.began)
            for outcome in OUTCOMES:
                self._counters.follow(("frames", name, outcome), start, getattr(counts, outcome))
            for place, count in enumerate(counts.latencies):
                self._counters.follow(("latency", name, place), start, count)
            self._counters.follow(("latency", name, "sum"), start, counts.seconds)

    def _follow_publisher(self, report: PublisherReport) -> None:
        """Follow the delivery account, which outlives the publisher, and the counts of the current publisher."""
        if (account := report.outbox) is not None:
            self._counters.raise_to("delivered", account.delivered)
            for reason in LOSSES:
                self._counters.raise_to(("lost", reason), account.lost.get(reason, 0))
        self._counters.follow("egress", report.use.began, report.egress.bytes or 0)
        self._counters.follow("rejected", report.use.began, report.egress.rejected)

    def families(self) -> Iterator[MetricFamily]:
        """Yield every metric family, including those without a sample now."""
        plan = self._swap.plan
        if plan is None:
            return
        yield from self._program(plan)
        yield from self._pipelines(plan)
        yield self._drift(plan)
        yield from self._models(plan)
        yield self._sources(plan)
        yield from self._outbox()
        yield from self._processes()
        yield from self._system()

    def _program(self, plan: Plan) -> Iterator[MetricFamily]:
        runtime = self._engine.runtime if self._engine is not None else ""
        info = MetricFamily(
            "edge_infer_build_info", "gauge", "Versions of the program, of Python and of the model runtime."
        )
        info.add(1, version=__version__, python=platform.python_version(), runtime=runtime)
        yield info
        written = MetricFamily(
            "edge_infer_written_timestamp_seconds", "gauge", "Time at which the supervisor wrote these metrics."
        )
        written.add(round(time.time(), 3))
        yield written
        config = MetricFamily(
            "edge_infer_config_applied", "gauge", "1 if the last configuration file read was applied."
        )
        if (status := self._reload.status) is not None:
            config.add(int(status.state == "applied"))
        yield config
        clock = MetricFamily("edge_infer_clock_synchronized", "gauge", "1 if the time of the board is known.")
        said = synchronised()
        clock.add(int(said if said is not None else time.time() >= MADE))
        yield clock
        disk = MetricFamily(
            "edge_infer_state_disk_free_ratio", "gauge", "Free share of the disk with the state directory."
        )
        try:
            found = os.statvfs(plan.state_dir)
            disk.add(round(found.f_bavail / found.f_blocks, 4) if found.f_blocks else None)
        except OSError:
            pass  # the components that fail report it themselves
        yield disk

    def _pipelines(self, plan: Plan) -> Iterator[MetricFamily]:
        frames = MetricFamily("edge_infer_pipeline_frames_total", "counter", "Frames by outcome.")
        latency = MetricFamily(
            "edge_infer_pipeline_latency_seconds", "histogram", "Time from the capture of a frame to its outcome."
        )
        limits = MetricFamily(
            "edge_infer_governor_limit_fps", "gauge", "Frame rate to which the governor limits a pipeline."
        )
        governor = self._house.restraint.governor
        for name in (each.name for each in plan.pipelines):
            for outcome in OUTCOMES:
                frames.add(self._counters.value(("frames", name, outcome)), pipeline=name, outcome=outcome)
            counts = [self._counters.value(("latency", name, place)) for place in range(len(LATENCY_BOUNDS) + 1)]
            bounds = [*(f"{bound:g}" for bound in LATENCY_BOUNDS), "+Inf"]  # in the spelling of Prometheus
            for bound, count in zip(bounds, accumulate(counts), strict=True):
                latency.add(count, "_bucket", pipeline=name, le=bound)
            latency.add(round(self._counters.value(("latency", name, "sum")), 3), "_sum", pipeline=name)
            latency.add(sum(counts), "_count", pipeline=name)
            limits.add(governor.limits.get(name) if governor is not None else None, pipeline=name)
        yield from (frames, latency, limits)

    def _drift(self, plan: Plan) -> MetricFamily:
        family = MetricFamily(
            "edge_infer_drift_score", "gauge", "Progress of the camera or the answers towards drift (1: reached)."
        )
        scores = self._engine.drift_scores if self._engine is not None else {}
        for name in (each.name for each in plan.pipelines if each.drift is not None):
            for part in DRIFT_PARTS:
                score = scores.get(name, {}).get(part)
                family.add(None if score is None else round(min(MOST_DRIFT, score), 2), pipeline=name, signal=part)
        return family

    def _models(self, plan: Plan) -> Iterator[MetricFamily]:
        info = MetricFamily(
            "edge_infer_model_info", "gauge", "The model that serves, by its name in the configuration."
        )
        for name, status in (standing(self._swap, self._engine) if self._engine is not None else {}).items():
            if status.sha is not None:
                info.add(1, model=name, version=status.version or "", sha=status.sha)
        yield info
        swaps = MetricFamily("edge_infer_model_swaps_total", "counter", "Model changes by outcome.")
        for name in plan.spoken_of():
            for outcome in SWAPS:
                swaps.add(self._swap.swaps[name, outcome], model=name, outcome=outcome)
        yield swaps

    def _sources(self, plan: Plan) -> MetricFamily:
        family = MetricFamily(
            "edge_infer_source_state", "gauge", "1 for the current state of a source, 0 for the others."
        )
        known = self._engine.sources if self._engine is not None else {}
        for name in (each.name for each in plan.sources):
            if name in known:
                for state in get_args(SourceState):
                    family.add(int(known[name].state == state), source=name, state=state)
        return family

    def _outbox(self) -> Iterator[MetricFamily]:
        messages = MetricFamily("edge_infer_outbox_messages", "gauge", "Messages that wait for the broker.")
        size = MetricFamily("edge_infer_outbox_bytes", "gauge", "Bytes of the messages that wait for the broker.")
        delivered = MetricFamily(
            "edge_infer_results_delivered_total", "counter", "Results and events that the broker acknowledged."
        )
        lost = MetricFamily("edge_infer_results_lost_total", "counter", "Results and events that were lost, by reason.")
        broker = MetricFamily(
            "edge_infer_broker_connected", "gauge", "1 while the broker accepts results, events and states."
        )
        sent = MetricFamily("edge_infer_egress_bytes_total", "counter", "Bytes published.")
        rejected = MetricFamily(
            "edge_infer_egress_rejected_total", "counter", "Messages that did not fit the closed schema."
        )
        if (report := self._publisher) is not None:
            if report.outbox is not None:
                messages.add(report.outbox.pending)
                size.add(report.outbox.bytes)
            broker.add(int(report.connected))
            delivered.add(self._counters.value("delivered"))
            sent.add(self._counters.value("egress"))
            rejected.add(self._counters.value("rejected"))
            for reason in LOSSES:
                lost.add(self._counters.value(("lost", reason)), reason=reason)
        yield from (messages, size, delivered, lost, broker, sent, rejected)

    def _processes(self) -> Iterator[MetricFamily]:
        busy = MetricFamily("edge_infer_cpu_seconds_total", "counter", "Processor time by process.")
        memory = MetricFamily("edge_infer_memory_pss_bytes", "gauge", "Proportional set size by process.")
        starts = MetricFamily(
            "edge_infer_process_restarts_total",
            "counter",
            "Restarts of processes, without those that the daemon ordered.",
        )
        _, seconds, size = self._own_use.read()
        busy.add(seconds, process="supervisor", source="")
        memory.add(size or None, process="supervisor", source="")
        reports, readers = self._house.reports(), self._house.readers()
        children = {"engine": self._house.engine, "publisher": self._house.publisher}
        for name, child in {**children, **{f"reader {source}": each for source, each in readers.items()}}.items():
            self._counters.follow(("restarts", name), None, child.failures)
            if child.pid == os.getpid():
                continue  # the publisher runs in the supervisor's process
            process, _, source = name.partition(" ")
            if name in reports:
                use = reports[name].use
                self._counters.follow(("cpu", name), use.began, use.cpu)
                memory.add(use.pss >> MEBIBYTE << MEBIBYTE or None, process=process, source=source)
            busy.add(round(self._counters.value(("cpu", name)), 2), process=process, source=source)
        self._readers |= {f"reader {source}" for source in readers}
        for process, names in {**{name: {name} for name in children}, "reader": self._readers}.items():
            starts.add(sum(self._counters.value(("restarts", name)) for name in names), process=process)
        yield from (busy, memory, starts)

    def _system(self) -> Iterator[MetricFamily]:
        heat = MetricFamily("edge_infer_temperature_celsius", "gauge", "Temperature of the hottest part of the board.")
        heat.add(hottest(self._board))
        slowed = MetricFamily("edge_infer_throttled", "gauge", "1 while the firmware slows the board down.")
        slowed.add(None if (found := throttled(self._board)) is None else int(found))
        yield from (heat, slowed)
        lacking: Counter[str] = Counter()
        for name, report in self._house.reports().items():
            lacking[name.partition(" ")[0]] += len(missing(report.sandbox))
        rules = MetricFamily(
            "edge_infer_sandbox_missing_rules", "gauge", "Sandbox rules that the kernel does not enforce."
        )
        for process, count in lacking.items():
            rules.add(count, process=process)
        yield rules


# Counters that never decrease while the daemon runs, even if the processes that count are restarted.

MAX_COUNTERS: Final = 16_384
"""Maximum number of counters, including those of earlier pipelines. A configuration has at most 256 pipelines with 12
counters each."""


class Counters:
    """Adds up the counts of successive processes.

    When a process starts again at 0, its count is added to the previous sum.
    """

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[Hashable, float, float]] = {}  # start, last count, sum before this start

    def follow(self, key: Hashable, start: Hashable, count: float) -> None:
        """Record the ``count`` since ``start``, which identifies one run of the counting process."""
        began, last, before = self._parts.pop(key, (start, 0.0, 0.0))
        if began != start or count < last:
            before += last
        self._parts[key] = (start, count, before)
        if len(self._parts) > MAX_COUNTERS:
            del self._parts[next(iter(self._parts))]

    def raise_to(self, key: Hashable, count: float) -> None:
        """Record a count that outlives its process. A count lower than the previous one is ignored."""
        self._parts[key] = (None, max(count, self.value(key)), 0.0)

    def value(self, key: Hashable) -> float:
        """Return the sum so far; 0 for a counter that was never recorded."""
        _, last, before = self._parts.get(key, (None, 0.0, 0.0))
        return before + last


# The classic text format of Prometheus, which node_exporter's textfile collector reads: without timestamps.

Labels = Mapping[str, str]


@dataclass(slots=True)
class MetricFamily:
    """One metric with all its samples. Each sample of a histogram has a ``suffix``; other samples have an empty one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float | None, suffix: str = "", /, **labels: str) -> None:
        """Add a sample. For an unknown value (None) no sample is added."""
        if value is not None:
            self.samples.append((suffix, labels, value))


def render(families: Iterable[MetricFamily]) -> str:
    """Return the text of the families that have samples."""
    lines = []
    for family in families:
        if family.samples:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
            lines += [f"{family.name}{suffix}{_labels(labels)} {value!r}" for suffix, labels, value in family.samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
