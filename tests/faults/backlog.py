"""Long outages, and what it takes to deliver what waited: the outbox and the publisher alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import Event
from edge_infer.plan.records import OutboxPlan
from edge_infer.platform.paths import publisher_folder
from edge_infer.publisher.outbox.database import FILE
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from tests.broker import UNLIMITED, Broker, Subscriber, eventually
from tests.faults.figure import Figure
from tests.publisher import servers
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, mqtt_plan, plan, result


def long_outage(folder: Path, seconds: int, size: int) -> list[Figure]:
    """Results of 300 bytes at one a second, a commit for each 6,000 (the daemon: one a second), into a file of the
    default bound; and as many into one that is too small."""
    figures = []
    for name, bound in (("of the default bound", 256 << 20), ("that is too small", size)):
        place = folder / str(bound)
        place.mkdir(parents=True)
        series = MessageSeries("door", "aaaaaa", "result")
        with StoredOutbox() as outbox:
            outbox.use(place, OutboxPlan(max_size=bound), "kernel")
            _step_until(outbox, lambda box: box.ready)
            for seq in range(1, seconds + 1):
                outbox.put(series, seq, b"x" * 300, late=True)
                if seq % 6000 == 0 or seq == seconds:
                    _step_until(outbox, lambda box, seq=seq: any(acked.seq == seq for acked in box.safe()))
            account = outbox.account()
        with closing(sqlite3.connect(place / FILE)) as file:
            kept, first, last = file.execute("SELECT count(*), min(seq), max(seq) FROM entry").fetchone()
        used = sum(path.stat().st_size for path in place.iterdir()) / (1 << 20)
        dropped = sum(account.lost.values())
        wrong = abs(dropped + kept - seconds) + abs(last - seconds) + abs(first - dropped - 1)
        note = f"{seconds} results, {dropped} dropped"
        figures += [
            Figure(f"MiB of a file {name}", used, bound / (1 << 20), note=note),
            Figure(f"results miscounted, file {name}", wrong, 0),
        ]
    return figures


def _step_until(outbox: StoredOutbox, condition: Callable[[StoredOutbox], bool]) -> None:
    def fits() -> bool:
        outbox.step()
        return bool(condition(outbox))

    eventually(fits, "the disk", 60)


def drain(folder: Path, count: int, rate: int = 4 << 20) -> list[Figure]:
    """So many results wait when the broker comes, while live ones of another pipeline, and alarms, go on coming.

    Those are heard by somebody who hears nothing else: when they are with the broker is asked, not how long it takes to
    read the backlog before them.
    """
    folder.mkdir(parents=True)
    old = MessageSeries("door", "aaaaaa", "result")
    with StoredOutbox() as outbox:
        place = publisher_folder(folder)
        place.mkdir()
        outbox.use(place, OutboxPlan())
        _step_until(outbox, lambda box: box.ready)
        for seq in range(1, count + 1):
            outbox.put(old, seq, dumps(result(seq, boot="aaaaaa", objects=2)), late=True)
            if seq % 2000 == 0 or seq == count:
                _step_until(outbox, lambda box, seq=seq: any(acked.seq == seq for acked in box.safe()))
        outbox.ended("aaaaaa", ())
    with (
        Broker(folder, *UNLIMITED) as broker,
        Subscriber(broker.port, topic=f"{P}/door/result") as backlog,
        Subscriber(broker.port, topic=f"{P}/yard/result") as live,
        Subscriber(broker.port, topic=f"{P}/door/event") as alarms,
        Room() as room,
    ):
        began, said, raised = time.monotonic(), dict[int, float](), dict[int, float]()
        pipelines = ("door", "yard")
        room.start(plan(mqtt_plan(broker.port, max_rate=rate), pipelines, state_dir=str(folder)))
        room.wait(lambda: room.hellos, "greeting")
        room.listen()
        while len(backlog.heard) < count:
            _say(room, said, lambda seq: room.hand_over(result(seq), "yard"))
            if len(said) % 5 == 1:
                _say(room, raised, lambda seq: room.hand_over(alarm(seq)))
            time.sleep(0.2)
            assert time.monotonic() - began < 1800, "the backlog does not drain"
        took = time.monotonic() - began
        eventually(lambda: len(live.heard) >= len(said) and len(alarms.heard) >= len(raised), "the live ones")
        assert room.stop() == 0
    late = [one.value["seq"] for one in backlog.heard]
    return [
        Figure(f"seconds to drain {count} waiting results", took, 900, note=f"max_rate {rate >> 20}M"),
        _delay("seconds until a live result is with the broker meanwhile, worst", said, live, 2.0),
        _delay("seconds until an alarm is with the broker meanwhile, worst", raised, alarms, 2.0),
        Figure("results of the backlog out of order or twice", _faulty(late, count), 0),
    ]


def slow_link(folder: Path, count: int, rate: int = 8000, latency: float = 1.0) -> list[Figure]:
    """A backlog over 64 kbit/s with a second of latency each way, and an alarm every two seconds meanwhile."""
    folder.mkdir(parents=True)
    with (
        Broker(folder, "max_inflight_messages 500") as broker,
        servers.Server(servers.slow(broker.port, rate, latency)) as server,
        Subscriber(broker.port, topic=f"{P}/door/result") as backlog,
        Subscriber(broker.port, topic=f"{P}/door/event") as alarms,
        Room() as room,
    ):
        room.start(plan(mqtt_plan(server.port), state_dir=str(folder)))
        room.wait(lambda: room.hellos, "greeting")
        for seq in range(1, count + 1):
            room.hand_over(result(seq, objects=8))
        room.wait_connected(30.0)
        began, raised = time.monotonic(), dict[int, float]()
        while len(backlog.heard) < count:
            _say(room, raised, lambda seq: room.hand_over(alarm(seq)))
            time.sleep(2.0)
            assert time.monotonic() - began < 60 + count, "the backlog does not drain"
        took = time.monotonic() - began
        eventually(lambda: len(alarms.heard) >= len(raised), "the alarms", 30)
        assert room.stop() == 0
    size = sum(len(one.payload) for one in (*backlog.heard, *alarms.heard)) / took
    first = [one.value["seq"] for one in backlog.heard]
    where = f"over {rate * 8 // 1000} kbit/s and {latency:g} s of latency"
    return [
        _delay(f"seconds until an alarm is with the broker {where}, worst", raised, alarms, 2.0 + latency),
        Figure(f"percent of the link that payloads take, {where}", 100 * size / rate, 70, least=True),
        Figure(f"results out of order or twice, {where}", _faulty(first, count), 0),
    ]


def alarm(seq: int) -> Event:
    """Something that somebody has to know now."""
    return Event(1, TS, BOOT, seq, "appear", label="face", id=seq, score=0.9, box=(0.1, 0.1, 0.2, 0.2), since=TS)


def _say(room: Room, said: dict[int, float], hand_over: Callable[[int], None]) -> None:
    """The next number, and when it was said."""
    seq = len(said) + 1
    said[seq] = time.monotonic()
    hand_over(seq)
    room.listen()


def _delay(name: str, said: dict[int, float], heard: Subscriber, promised: float) -> Figure:
    ages = sorted(one.at - said[one.value["seq"]] for one in heard.heard if one.value["seq"] in said)
    return Figure(name, ages[-1], promised, note=f"of {len(ages)}, median {ages[len(ages) // 2]:.2f}")


def _faulty(seqs: list[int], count: int) -> int:
    return sum(found != seq for found, seq in zip(seqs, range(1, count + 1), strict=False)) + abs(len(seqs) - count)
