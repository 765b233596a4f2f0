"""Hours of steady running, measured, and hours of kills, counted: what a daemon uses later, and what it loses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.faults.figure import Figure
from tests.faults.rooms import P, after, serving
from tests.faults.soak import two_sources
from tests.faults.storm import storm

SAMPLES: Final = 360
"""Samples of a run; at least a second apart."""
SETTLED: Final = 1 / 6
"""Share of the run after which growth counts, ten minutes of an hour: caches fill, allocators take what they need."""
MOST_GROWTH: Final[Mapping[str, float]] = {"MB": 1.0, "files": 1.0, "threads": 1.0, "disk MB": 8.0}
"""What each of these may grow by, from then on, in an hour. The outbox keeps pages of its file that it has used."""
BARS: Final = "▁▂▃▄▅▆▇█"
BATCH: Final = 20
"""Kills between two judgements of the account."""


@dataclass(frozen=True, slots=True)
class Course:
    """One quantity of one process over a run: seconds since the start, and values."""

    room: str
    unit: str
    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def growth(self) -> float:
        """How much the line through the values after the beginning rises, from its first to its last."""
        times, values = np.array(self.times), np.array(self.values)
        later = times >= times[-1] * SETTLED
        slope = np.polyfit(times[later], values[later], 1)[0]
        return float(slope * (times[-1] - times[later][0]))

    @property
    def kept(self) -> bool:
        """Whether it stayed as it was."""
        return self.growth <= MOST_GROWTH[self.unit] * max(1.0, self.times[-1] / 3600.0)

    def __str__(self) -> str:
        """One line, with a plot."""
        verdict = "" if self.kept else "   BROKEN"
        ends = f"{self.values[0]:>8.1f} -> {self.values[-1]:<8.1f}"
        return f"{self.room:<16} {self.unit:<8} {ends} growth {self.growth:>+7.2f}  {plot(self.values)}{verdict}"


def plot(values: Sequence[float], width: int = 40) -> str:
    """The means of equal parts of the values, as bars between the lowest and the highest one."""
    means = [float(np.mean(part)) for part in np.array_split(np.array(values), min(width, len(values)))]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0] for mean in means)


def steady(folder: Path, seconds: float) -> list[Course]:
    """A daemon with a clip, a program and a drawn source that nobody disturbs."""
    with serving(folder) as (daemon, subscriber, broker):
        daemon.config.write_text(two_sources(folder, broker.port, 0))
        assert daemon.reload()["state"] == "applied"
        after(subscriber, f"{P}/live/result", time.monotonic())
        rooms = {"supervisor": daemon.pid, **daemon.pids()}
        courses: dict[tuple[str, str], list[float]] = {}
        times, begun = list[float](), time.monotonic()
        pause = max(1.0, seconds / SAMPLES)
        while (now := time.monotonic() - begun) < seconds:
            times.append(now)
            for name, pid in rooms.items():
                for unit, value in _use(pid).items():
                    courses.setdefault((name, unit), []).append(value)
            courses.setdefault(("state directory", "disk MB"), []).append(_size(folder / "state"))
            subscriber.heard.clear()
            time.sleep(pause)
        assert {"supervisor": daemon.pid, **daemon.pids()} == rooms, "a process was replaced"
    return [Course(*key, tuple(times), tuple(values)) for key, values in courses.items()]


def kills(folder: Path, seconds: float) -> Iterator[Figure]:
    """Storms of kills and broker outages one after the other; the worst value of each figure counts."""
    worst: dict[str, Figure] = {}
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for figure in storm(folder / str(number), BATCH, BATCH // 4):
            if figure.name not in worst or figure.value > worst[figure.name].value:
                worst[figure.name] = figure
        number += 1
    yield from worst.values()


def _use(pid: int) -> dict[str, float]:
    """Resident megabytes, open files and threads of a process."""
    place = Path(f"/proc/{pid}")
    resident = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)
    threads = len(list((place / "task").iterdir()))
    try:
        return {"MB": resident, "files": len(list((place / "fd").iterdir())), "threads": threads}
    except PermissionError:  # only root may count the files of a process that is not dumpable
        return {"MB": resident, "threads": threads}


def _size(folder: Path) -> float:
    """Megabytes on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / (1 << 20)
