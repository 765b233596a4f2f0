"""The price of the walls: memory and throughput of a daemon with them, and of the same one without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config

WINDOW = 3.0
"""Seconds of a round."""
LEAST = 0.98
"""Throughput with the walls as a share of that without, at least."""
Running = tuple[Daemon, Subscriber]
OPEN = """\
import edge_infer.sandbox as sandbox
sandbox.lock = lambda room, **_: {}
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one of the two got done in a round: results, seconds on the clock, and seconds of processor time."""

    results: int
    seconds: float
    work: float


@dataclass(frozen=True, slots=True)
class Price:
    """PSS of all processes in bytes, with and without the walls, and what both got done at one time, by rounds."""

    memory: tuple[int, int]
    rounds: tuple[tuple[Slice, Slice], ...]

    @property
    def ratio(self) -> float:
        """Results a second of processor time, with the walls as a share of that without.

        What else the machine does takes time on the clock from one or the other; the processor's is their own.
        """
        return self._share(lambda turn: turn.work)

    @property
    def clock_ratio(self) -> float:
        """The same by the clock: as good as the machine is idle."""
        return self._share(lambda turn: turn.seconds)

    @property
    def work(self) -> tuple[float, float]:
        """Milliseconds of processor time a result, of all processes, with and without."""
        each = [sum(one.work for one in side) / sum(one.results for one in side) for side in self._sides()]
        return 1000 * each[0], 1000 * each[1]

    def _sides(self) -> list[tuple[Slice, ...]]:
        return list(zip(*self.rounds, strict=True))

    def _share(self, cost: Callable[[Slice], float]) -> float:
        rates = [sum(one.results for one in each) / sum(map(cost, each)) for each in self._sides()]
        return rates[0] / rates[1]

    def __str__(self) -> str:
        """Three lines."""
        with_walls, without = (size / (1 << 20) for size in self.memory)
        return (
            f"PSS of all processes: {with_walls:.1f} MB with walls, {without:.1f} MB without\n"
            f"results a second of processor time, with walls / without: {self.ratio:.3f} "
            f"({len(self.rounds)} rounds by turns; {self.work[0]:.2f} and {self.work[1]:.2f} ms a result)\n"
            f"results a second by the clock, with walls / without: {self.clock_ratio:.3f}"
        )


def price(folder: Path, rounds: int) -> Price:
    """Runs both by turns: while one works, all processes of the other stand still, and the order changes each time."""
    with ExitStack() as stack:
        walled = stack.enter_context(_running(folder / "walled", None))
        (folder / "open").mkdir(parents=True)
        (folder / "open/sitecustomize.py").write_text(OPEN)
        bare = stack.enter_context(_running(folder / "bare", folder / "open"))
        memory = (_memory(walled[0]), _memory(bare[0]))
        turns = []
        both = {"walled": walled, "bare": bare}
        for turn in range(rounds):
            done = {name: _alone(both, name) for name in (sorted(both) if turn % 2 else sorted(both, reverse=True))}
            turns.append((done["walled"], done["bare"]))
    return Price(memory, tuple(turns))


@contextmanager
def _running(folder: Path, code: Path | None) -> Iterator[Running]:
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
        # Whoever measures the fast path takes processor time and memory of its own; it does so once.
        eventually(lambda: daemon.status().get("fast_path"), "word of the fast path", 300)
        yield daemon, subscriber


def _look(which: Running) -> tuple[int, float, float]:
    """The number of the newest result, the time, and the processor time so far.

    After a standstill older ones, which have become late by it, come between the new ones.
    """
    daemon, subscriber = which
    newest: int = max(heard.value["seq"] for heard in subscriber.on("edge-infer/box/faces/result")[-1000:])
    return newest, time.monotonic(), _work(daemon)


def _alone(both: Mapping[str, Running], name: str) -> Slice:
    """What one gets done while the other stands still, once it has caught its breath."""
    others = [pid for other, (daemon, _) in both.items() if other != name for pid in _pids(daemon)]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(WINDOW / 4)
        before = _look(both[name])
        time.sleep(WINDOW)
        after = _look(both[name])
    finally:
        for pid in reversed(others):
            os.kill(pid, signal.SIGCONT)
    return Slice(after[0] - before[0], after[1] - before[1], after[2] - before[2])


def _work(daemon: Daemon) -> float:
    """Seconds of processor time of all its processes."""
    ticks = 0
    for pid in _pids(daemon):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pids(daemon: Daemon) -> list[int]:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    return [daemon.pid, *map(int, children)]


def _memory(daemon: Daemon) -> int:
    """PSS of all its processes once results come."""
    daemon.wait_serving()
    eventually(lambda: daemon.status()["pipelines"]["faces"]["produced"] > 50, "results", 30)
    total = 0
    for pid in _pids(daemon):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total
