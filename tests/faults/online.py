"""The publisher alone, fed as the engine feeds it: what it writes while all is well, and how soon it is back."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import Event
from tests.broker import Broker
from tests.faults.figure import Figure
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, mqtt_plan, plan, result

DAY = 86400


def writes(folder: Path, seconds: int) -> list[Figure]:
    """What the publisher writes to the disk while everything is acknowledged, at ten results and one event a second."""
    folder.mkdir(parents=True)
    with Broker(folder) as broker, Room() as room:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(folder)))
        room.wait_connected()
        assert room.process
        io = Path(f"/proc/{room.process.pid}/io")
        began, seq, number, before = time.monotonic(), 0, 0, _written(io)
        while (now := time.monotonic()) - began < seconds:
            while seq < (now - began) * 10:
                seq += 1
                room.hand_over(result(seq))
            while number < now - began:
                number += 1
                room.hand_over(_event(number))
            room.listen()
            time.sleep(0.05)
        room.wait_acked(seq)
        took, written = time.monotonic() - began, _written(io) - before
        assert room.stop() == 0
    megabytes = written / 1e6 * DAY / took
    name = "MB written in a day at 10 results/s and 1 event/s, online"
    return [Figure(name, megabytes, 50, note=f"from {took:.0f} s")]


def _event(number: int) -> Event:
    """Somebody comes, and leaves after five more events."""
    came = number % 2 == 1
    who = (number + 1) // 2 if came else max(1, number // 2 - 2)
    return Event(
        1, TS, BOOT, number, "appear" if came else "leave", label="face", id=who, score=0.9,
        box=(0.1, 0.1, 0.2, 0.2) if came else ABSENT, since=TS,
    )  # fmt: skip


def _written(io: Path) -> int:
    return int(next(line for line in io.read_text().splitlines() if line.startswith("write_bytes")).split()[1])


def returns(folder: Path, count: int) -> list[Figure]:
    """From the moment that the broker listens again until it has the first result."""
    folder.mkdir(parents=True)
    chance, seconds, seq = random.Random(3), [], 0
    with Broker(folder) as broker, Room() as room:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(folder)))
        room.wait_connected()
        for _ in range(count):
            broker.stop(signal.SIGKILL)
            room.wait(lambda: room.report and not room.report.connected, "end of the connection")
            seq += 1
            room.hand_over(result(seq))
            pause = time.monotonic() + chance.uniform(0.5, 12.0)
            room.wait(lambda end=pause: time.monotonic() >= end, "the outage", 20)
            heard = broker.log.stat().st_size
            broker.start()
            moment = time.monotonic()
            room.wait(lambda at=heard: _sent_puback(broker, at), "acknowledgement", 30)
            seconds.append(time.monotonic() - moment)
    ranked = sorted(seconds)
    worst = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    note = f"{count} outages of 0.5 to 12 s"
    return [Figure("seconds from broker back to first acknowledged, p95", worst, 5.0, note=note)]


def _sent_puback(broker: Broker, after: int) -> bool:
    """Whether the broker's log tells of a result that it took and acknowledged."""
    with broker.log.open("rb") as file:
        file.seek(after)
        _, _, rest = file.read().partition(b"/door/result'")
    return b"Sending PUBACK" in rest
