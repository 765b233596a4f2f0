"""The price of the walls: memory and throughput of a daemon with them, and of the same one without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config

SLICE = 1.5
"""Seconds that one of the two runs while the other stands still; the supervisor thinks a room dead after ten."""
LEAST = 0.98
"""Throughput with the walls as a share of that without, at least."""
OPEN = """\
import edge_infer.sandbox as sandbox
sandbox.lock = lambda room, **_: {}
"""


@dataclass(frozen=True, slots=True)
class Price:
    """PSS of all processes in bytes, and results a second, each with and without the walls."""

    memory: tuple[int, int]
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Throughput with the walls as a share of that without: the median of the rounds."""
        return median(self.ratios)

    def __str__(self) -> str:
        """Two lines."""
        with_walls, without = (size / (1 << 20) for size in self.memory)
        return (
            f"PSS of all processes       {with_walls:6.1f} MB with walls, {without:6.1f} MB without\n"
            f"throughput, with / without {self.ratio:6.3f} (median of {len(self.ratios)} rounds, "
            f"{min(self.ratios):.3f} to {max(self.ratios):.3f})"
        )


def price(folder: Path, rounds: int) -> Price:
    """Runs both beside each other, by turns."""
    with ExitStack() as stack:
        walled = stack.enter_context(_running(folder / "walled", None))
        (folder / "open").mkdir(parents=True)
        (folder / "open/sitecustomize.py").write_text(OPEN)
        bare = stack.enter_context(_running(folder / "bare", folder / "open"))
        memory = (_memory(walled[0]), _memory(bare[0]))
        ratios = []
        for number in range(rounds):
            order = (walled, bare) if number % 2 == 0 else (bare, walled)
            counts = {id(which): _slice(which, order) for which in order}
            ratios.append(counts[id(walled)] / max(1, counts[id(bare)]))
        _continue(walled[0])
        _continue(bare[0])
    return Price(memory, tuple(ratios))


@contextmanager
def _running(folder: Path, code: Path | None) -> Iterator[tuple[Daemon, Subscriber]]:
    folder.mkdir(parents=True)
    before = os.environ.get("PYTHONPATH")
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        text = config(broker.port).replace("fps: 10", "fps: 1000").replace("loop: true", "loop: true, realtime: false")
        if code is not None:
            os.environ["PYTHONPATH"] = str(code)
        try:
            daemon = stack.enter_context(Daemon(folder, text))
        finally:
            os.environ.pop("PYTHONPATH", None)
            if before is not None:
                os.environ["PYTHONPATH"] = before
        yield daemon, subscriber


def _slice(which: tuple[Daemon, Subscriber], both: tuple[tuple[Daemon, Subscriber], ...]) -> int:
    """How many results one gives while the other stands still."""
    for daemon, _ in both:
        (_continue if daemon is which[0] else _halt)(daemon)
    topic, subscriber = "edge-infer/box/faces/result", which[1]
    time.sleep(0.2)  # what the other has left in its broker is not ours, but the processor is
    before, began = len(subscriber.on(topic)), time.monotonic()
    time.sleep(SLICE)
    return round((len(subscriber.on(topic)) - before) / (time.monotonic() - began) * 1000)


def _pids(daemon: Daemon) -> list[int]:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    return [daemon.pid, *map(int, children)]


def _halt(daemon: Daemon) -> None:
    for pid in _pids(daemon):
        os.kill(pid, signal.SIGSTOP)


def _continue(daemon: Daemon) -> None:
    for pid in reversed(_pids(daemon)):
        os.kill(pid, signal.SIGCONT)


def _memory(daemon: Daemon) -> int:
    """PSS of all its processes once results come."""
    daemon.wait_serving()
    eventually(lambda: daemon.status()["pipelines"]["faces"]["produced"] > 50, "results", 30)
    total = 0
    for pid in _pids(daemon):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total
