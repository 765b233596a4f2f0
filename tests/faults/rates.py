"""Whether inference feels what happens to the broker and to the publisher."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from statistics import median

from tests.broker import Broker, eventually
from tests.faults.figure import Figure
from tests.running import Daemon, config


def inference(folder: Path, seconds: float, rounds: int) -> list[Figure]:
    """Results a second with a broker, without one, and with a publisher that is stopped, by turns.

    Each outage is compared with the quiet times before and after it, so that what else the machine does cancels; the
    median counts. Results per second of the engine's processor time leave out who else wanted the processor.
    """
    folder.mkdir(parents=True)
    text = config(0, "{kind: synthetic, size: 64x48, seed: 1, realtime: false}").replace(", fps: 10", "")
    shares: dict[str, list[tuple[float, float]]] = {"down": [], "stopped": []}
    with Broker(folder) as broker, Daemon(folder, text.replace("port: 0", f"port: {broker.port}")) as daemon:
        daemon.wait_serving()
        before = _rate(daemon, seconds)
        for _ in range(rounds):
            for what, found in shares.items():
                within = _outage(daemon, broker, seconds) if what == "down" else _stopped(daemon, seconds)
                after = _rate(daemon, seconds)
                clock, work = (2 * x / (a + b) for x, a, b in zip(within, before, after, strict=True))
                found.append((clock, work))
                before = after
    figures = []
    for key, what in (("down", "in an outage"), ("stopped", "with a publisher that is stopped")):
        for index, unit in enumerate(("second", "second of processor time")):
            ranked = sorted(100 * share[index] for share in shares[key])
            note = f"median of {rounds}, {ranked[0]:.0f} to {ranked[-1]:.0f}; about {before[0]:.0f} results/s"
            figures.append(Figure(f"results a {unit} {what}, percent", median(ranked), 95, least=True, note=note))
    return figures


def _outage(daemon: Daemon, broker: Broker, seconds: float) -> tuple[float, float]:
    broker.stop()
    rate = _rate(daemon, seconds)
    broker.start()
    daemon.wait_serving()
    _drained(daemon)
    return rate


def _stopped(daemon: Daemon, seconds: float) -> tuple[float, float]:
    publisher = daemon.pids()["publisher"]
    os.kill(publisher, signal.SIGSTOP)
    rate = _rate(daemon, seconds)
    os.kill(publisher, signal.SIGCONT)
    _drained(daemon)
    return rate


def _drained(daemon: Daemon) -> None:
    eventually(lambda: (daemon.status().get("outbox") or {"pending": 999})["pending"] < 100, "drained", 120)


def _rate(daemon: Daemon, seconds: float) -> tuple[float, float]:
    """Results a second, and a second of the engine's processor time."""

    def produced() -> int:
        return sum(pipeline["produced"] for pipeline in daemon.status()["pipelines"].values())

    engine = daemon.pids()["engine"]
    before, busy, moment = produced(), _processor_time(engine), time.monotonic()
    time.sleep(seconds)
    made = produced() - before
    return made / (time.monotonic() - moment), made / (_processor_time(engine) - busy)


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
