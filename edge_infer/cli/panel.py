"""Live view of a daemon as lines of text: its status, and the rates since the previous sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent
from edge_infer.contract.messages import SourceHealth
from edge_infer.platform.process_use import use_of
from edge_infer.supervisor.status import DEGRADED, Status, held_back
from edge_infer.yamlfile.scalars import plain
from edge_infer.yamlfile.units import rough_duration


@dataclass(frozen=True, slots=True)
class Use:
    """``cpu``: share of one processor since the previous sample, None at the first one; ``memory``: bytes."""

    cpu: float | None
    memory: int


class Processes:
    """Measures the use of processes repeatedly; ended processes have none."""

    def __init__(self, root: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._last: dict[int, tuple[float, float]] = {}

    def look(self, pids: list[int]) -> dict[int, Use]:
        """Return the current use of each process."""
        found, seen, now = {}, {}, self._clock()
        for pid in pids:
            if (numbers := use_of(pid, self._root)) is None:
                continue
            seconds, memory = numbers
            before, at = self._last.get(pid, (seconds, now))
            found[pid] = Use((seconds - before) / (now - at) if now > at else None, memory)
            seen[pid] = seconds, now
        self._last = seen
        return found


MOST: Final = 500
"""Maximum number of characters in a line."""


@dataclass(frozen=True, slots=True)
class DaemonSample:
    """A status, the time of the request (monotonic seconds), and the resource use of the processes."""

    at: float
    status: Status
    use: Mapping[int, Use]


def panel(look: DaemonSample, before: DaemonSample | None, width: int) -> list[str]:
    """Return lines of at most ``width`` characters. ``before`` is an earlier sample of the same engine, for rates."""
    lines = [*_head(look, before), "", *_sources(look.status), "", *_pipelines(look, before), ""]
    lines += [*_models(look.status), "", *_processes(look)]
    return [plain(line, MOST)[:width].rstrip() for line in lines]


def _head(look: DaemonSample, before: DaemonSample | None) -> Iterator[str]:
    status, outbox = look.status, look.status.outbox
    yield f"edge-infer {status.version}, up {rough_duration(status.uptime)}, {status.runtime or 'no engine yet'}"
    yield f"broker  {status.broker.word:<4}  {status.broker.text}"
    if outbox is not None:
        earlier = before.status.outbox if before is not None else None
        rate = _rate(outbox.delivered, earlier.delivered if earlier else None, look, before)
        delivered = f"{outbox.delivered} delivered" + (f" ({rate}/s)" if rate else "")
        lost = ", ".join(f"{count} {reason}" for reason, count in outbox.lost.items()) or "none"
        yield f"outbox  {delivered}, {outbox.pending} waiting, lost: {lost}{DEGRADED if outbox.degraded else ''}"
    if status.config is not None:
        yield f"config  {status.config.state} {status.config.digest[:8]} at {status.config.ts}"
        yield from (f"        {error}" for error in status.config.errors[:3])
    if status.governor is not None:
        yield f"govern  {held_back(status.governor)}"
    if status.last_error is not None:
        yield f"last    {status.last_error.ts} {status.last_error.text}"


def pace_of(source: SourceHealth) -> str:
    """Return the rate of a source: pictures or lines per second, or samples per second of a signal."""
    return f"{source.fps:g} fps" if source.rate is ABSENT else f"{source.rate:g} samples/s"


def _pace(source: SourceHealth) -> str:
    """Return the rate for the column of frames per second: without a unit for frames, with ``/s`` for samples."""
    return f"{source.fps:.1f}" if source.rate is ABSENT else f"{source.rate:g}/s"


def _sources(status: Status) -> Iterator[str]:
    rows = [
        (name, source.state, _pace(source), str(source.faults or 0), _said(source.error))
        for name, source in status.sources.items()
    ]
    yield from table(("SOURCE", "STATE", ">FPS", ">LEFT OUT", ""), rows)


def _pipelines(look: DaemonSample, before: DaemonSample | None) -> Iterator[str]:
    rows = []
    for name, pipeline in look.status.pipelines.items():
        latency = pipeline.latency_ms
        times = [f"{value:.1f}" for value in (latency.p50, latency.p95, latency.p99)] if latency else ["-"] * 3
        earlier = before.status.pipelines.get(name) if before is not None else None
        rate = _rate(pipeline.produced, earlier.produced if earlier else None, look, before)
        counts = (str(pipeline.produced), rate or "-", str(pipeline.dropped))
        rows.append((name, f"{pipeline.fps:.1f}", *times, *counts, _said(pipeline.error)))
    heads = ("PIPELINE", ">FPS", ">P50", ">P95", ">P99 ms", ">RESULTS", ">/s", ">DROPPED", "")
    yield from table(heads, rows)


def _models(status: Status) -> Iterator[str]:
    rows = [
        (name, model.state, model.version or "-", model.sha or "-", _said(model.reason))
        for name, model in status.models.items()
    ]
    yield from table(("MODEL", "STATE", "VERSION", "SHA", ""), rows)


def _processes(look: DaemonSample) -> Iterator[str]:
    status, rows = look.status, []
    if status.pid is not None:
        use = look.use.get(status.pid)
        rows.append(("supervisor", str(status.pid), rough_duration(status.uptime), *_used(use), "0"))
    for name, room in status.rooms.items():
        up = rough_duration(room.uptime) if room.pid else "is starting"
        rows.append((name, str(room.pid or "-"), up, *_used(look.use.get(room.pid or 0)), str(room.failures)))
    rows.append(("all", "", "", *_used(_sum(list(look.use.values()))), ""))
    yield from table(("ROOM", ">PID", "UP", ">CPU", ">MEMORY", ">RESTARTS"), rows)


def _used(use: Use | None) -> tuple[str, str]:
    cpu = f"{use.cpu:.0%}" if use and use.cpu is not None else "-"
    return cpu, f"{use.memory / 1e6:.0f} MB" if use else "-"


def _sum(uses: Sequence[Use]) -> Use | None:
    """Return the use of all processes together. Memory that they share is counted for each of them."""
    shares = [use.cpu for use in uses if use.cpu is not None]
    return Use(sum(shares) if shares else None, sum(use.memory for use in uses)) if uses else None


def _said(text: str | Absent) -> str:
    return "" if text is ABSENT else text


def _rate(now: int, then: int | None, look: DaemonSample, before: DaemonSample | None) -> str:
    """Return the rate per second since the previous sample; empty if another engine ran then."""
    if then is None or before is None or now < then or look.status.boot != before.status.boot:
        return ""
    return f"{(now - then) / (look.at - before.at):.1f}" if look.at > before.at else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table.

    Columns are as wide as their cells; a head that begins with > aligns its column right.
    """
    cells = [[head.lstrip(">") for head in heads], *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    right = [head.startswith(">") for head in heads]
    for row in cells:
        shown = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        yield "  ".join(shown).rstrip()
