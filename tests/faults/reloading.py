"""Damaged models through the reload of a running daemon: neither the supervisor nor the engine that serves may end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_infer.models.packages.package import find_package
from tests.broker import eventually
from tests.faults.rooms import P, after, serving
from tests.running import MODEL, Daemon, alive, config
from tests.swapping import short


@dataclass(slots=True)
class Reloads:
    """What became of reloads that each named another mutant."""

    outcomes: Counter[str] = field(default_factory=Counter)
    supervisor_exits: int = 0
    engine_exits: int = 0

    @property
    def kept(self) -> bool:
        """Nobody ended."""
        return self.supervisor_exits == self.engine_exits == 0

    def lines(self) -> Iterator[str]:
        """The table."""
        count = sum(self.outcomes.values())
        exits = f"exits of the supervisor {self.supervisor_exits}, of the engine {self.engine_exits}"
        yield f"{count} mutants in a running daemon: {exits}"
        yield from (f"  reload: {what:<58} {number:>5}" for what, number in self.outcomes.most_common())


def reload_all(folder: Path, places: Iterable[Path]) -> Iterator[Reloads]:
    """The count after each of the packages ``fit`` of these places; the sound model serves in between."""
    reloads = Reloads()
    with serving(folder) as (daemon, subscriber, broker):
        engine = daemon.pids()["engine"]
        sound = config(broker.port).replace("fps: 10", "fps: 30")  # so that a probation is soon over
        for place in places:
            package = place / "fit"
            daemon.config.write_text(sound.replace(str(MODEL), str(package)))
            if daemon.reload()["state"] == "rejected":
                reloads.outcomes["rejected"] += 1
            else:
                reloads.outcomes[_watched(daemon, short(find_package(package).file))] += 1
                daemon.config.write_text(sound)
                assert daemon.reload()["state"] == "applied"
            if not alive(daemon.pid):
                reloads.supervisor_exits += 1
                yield reloads
                return
            now = eventually(lambda: daemon.pids().get("engine"), "an engine")
            reloads.engine_exits += now != engine
            engine = now
            after(
                subscriber, f"{P}/faces/result", time.monotonic(), lambda heard: heard.value["sha"] == short(MODEL), 30
            )
            yield reloads


def _watched(daemon: Daemon, sha: str) -> str:
    """What becomes of a mutant that was taken."""

    def settled() -> str:
        said: dict[str, Any] = daemon.status().get("models", {}).get("faces", {})
        if said.get("state") in ("rolled_back", "rejected"):
            return f"taken, then {said['state'].replace('_', ' ')}"
        return "taken, and committed" if said.get("sha") == sha and said.get("state") == "active" else ""

    return str(eventually(settled, f"outcome of {sha}", 30))
