"""The content of ``edge-infer status``: processes, sources, pipelines, broker, configuration, the last error."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

from edge_infer import __version__
from edge_infer.contract.codec import ABSENT, Record, ShortText, field
from edge_infer.contract.messages import (
    ConfigStatus,
    DriftHealth,
    GovernorHealth,
    ModelStatus,
    OutboxHealth,
    PipelineHealth,
    Sentence,
    SourceHealth,
)
from edge_infer.ipc.messages import STARTING_UP
from edge_infer.plan.records import FilePath
from edge_infer.supervisor.processes.child import ChildProcess
from edge_infer.supervisor.processes.supervisor import LastFailure, ProcessSupervisor, together


class RoomStatus(Record, frozen=True):
    """One child process. ``pid`` is null while it does not run; ``walls`` holds the sandbox rules that it has tested.

    ``planned`` counts the ``restarts`` that the supervisor ordered because the process needed another sandbox.
    """

    pid: int | None
    restarts: int
    uptime: float
    walls: Mapping[ShortText, ShortText] = field(default_factory=dict)
    planned: int = 0

    @property
    def failures(self) -> int:
        """Number of restarts that the supervisor did not order."""
        return max(0, self.restarts - self.planned)


class BrokerStatus(Record, frozen=True):
    """The connection to the broker, in a sentence.

    ``connected``: the broker accepts results, events and states. ``faulty``: the broker does not get every message.
    """

    connected: bool
    text: Sentence
    faulty: bool = False

    @property
    def word(self) -> str:
        """``ok``, ``DOWN``, or ``…`` while the first attempt to connect has not ended."""
        return "ok" if self.connected else "…" if self.text == STARTING_UP else "DOWN"


class Status(Record, frozen=True):
    """The whole answer. ``feeds`` holds the source of each pipeline that processes whole frames."""

    version: ShortText
    uptime: float
    boot: ShortText | None
    runtime: ShortText | None
    rooms: Mapping[ShortText, RoomStatus]
    sources: Mapping[ShortText, SourceHealth]
    pipelines: Mapping[ShortText, PipelineHealth]
    models: Mapping[ShortText, ModelStatus]
    broker: BrokerStatus
    outbox: OutboxHealth | None
    config: ConfigStatus | None
    last_error: LastFailure | None
    walls: Mapping[ShortText, ShortText] = field(default_factory=dict)
    governor: GovernorHealth | None = None
    fast_path: float | None = None
    feeds: Mapping[ShortText, ShortText] = field(default_factory=dict)
    inactive: Mapping[ShortText, ShortText] = field(default_factory=dict)
    """Pipelines that are paused or outside of their hours, with the reasons."""
    pid: int | None = None
    """The process id of the supervisor."""
    drift: Mapping[ShortText, DriftHealth] = field(default_factory=dict)
    """Drift of the pipelines that watch for it."""
    unwatched: Mapping[ShortText, ShortText] = field(default_factory=dict)
    """Pipelines with ``drift`` in the configuration that are inactive, with the reasons."""
    put_aside: tuple[FilePath, ...] = ()
    """Replaced folders of the publisher (``publisher.put-aside-…``), the oldest first."""
    state_dir: FilePath | None = None


def compose(
    house: ProcessSupervisor,
    config: ConfigStatus | None,
    models: Mapping[str, ModelStatus],
    since: float,
    *,
    fast_path: float | None,
    inactive: Mapping[str, str],
    put_aside: tuple[str, ...] = (),
    state_dir: str | None = None,
) -> Status:
    """Return the current status; ``since`` is the monotonic start time of the daemon, ``fast_path`` as in `Info`."""
    engine, publisher = house.heard.engine, house.heard.publisher
    rooms = {"engine": house.engine, "publisher": house.publisher}
    rooms |= {f"reader {name}": child for name, child in house.readers().items()}
    walls = house.tested_walls()
    return Status(
        version=__version__,
        uptime=round(time.monotonic() - since, 1),
        boot=engine.boot if engine else None,
        runtime=engine.runtime if engine else None,
        rooms={name: _room(child, walls.get(name, {})) for name, child in rooms.items()},
        sources=engine.sources if engine else {},
        pipelines=engine.pipelines if engine else {},
        models=models,
        broker=BrokerStatus(publisher.connected, publisher.broker, publisher.faulty)
        if publisher
        else BrokerStatus(False, STARTING_UP),
        outbox=publisher.outbox if publisher else None,
        config=config,
        last_error=house.heard.trouble,
        walls=together(walls),
        governor=house.restraint.governor,
        fast_path=fast_path,
        feeds={each.name: each.source for each in house.pipelines() if each.crops is None},
        inactive=inactive,
        pid=os.getpid(),
        drift=engine.drift if engine else {},
        unwatched={
            each.name: inactive[each.name] for each in house.pipelines() if each.drift and each.name in inactive
        },
        put_aside=put_aside,
        state_dir=state_dir,
    )


DEGRADED: Final = ", DEGRADED: cannot write to disk"
"""Appended to the description of the outbox while its file cannot be written."""


def held_back(governor: GovernorHealth) -> str:
    """Return the governor's limits as one line."""
    if not governor.limits:
        return "no limits"
    held = ", ".join(f"{name} at most {fps:g} fps" for name, fps in governor.limits.items())
    return held if governor.reason is ABSENT else f"{governor.reason}: {held}"


def headline(status: Status) -> str:
    """Return one line for ``systemctl status``."""
    serving = sum(1 for model in status.models.values() if model.sha)
    ok = sum(1 for source in status.sources.values() if source.state in {"ok", "black"})
    config = f", configuration {status.config.state}" if status.config else ""
    if status.config is not None and status.config.errors:
        config += f": {status.config.errors[0]}"
    return (
        f"{serving}/{len(status.models)} models serve, {ok}/{len(status.sources)} sources ok, "
        f"broker: {status.broker.text}{config}"
    )


def _room(child: ChildProcess, walls: Mapping[str, str]) -> RoomStatus:
    uptime = round(time.monotonic() - child.started, 1) if child.pid else 0.0
    return RoomStatus(child.pid, max(0, child.restarts), uptime, walls, child.planned)
