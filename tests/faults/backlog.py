"""Long outages, and what it takes to deliver what waited: the outbox and the publisher alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge_infer.codec import dumps, encode
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import OutboxPlan
from edge_infer.publisher.database import FILE
from edge_infer.publisher.series import Series
from edge_infer.publisher.stored import StoredOutbox
from tests.broker import UNLIMITED, Broker, Subscriber, eventually
from tests.faults.figure import Figure
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, P, mqtt_plan, plan, result


def long_outage(folder: Path, seconds: int, size: int) -> list[Figure]:
    """Results of 300 bytes at one a second, a commit for each 6,000 (the daemon: one a second), into a file of the
    default bound; and as many into one that is too small."""
    figures = []
    for name, bound in (("of the default bound", 256 << 20), ("that is too small", size)):
        place = folder / str(bound)
        place.mkdir(parents=True)
        series = Series("door", "aaaaaa", "result")
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
    """So many results wait when the broker comes, while live ones and alarms go on coming."""
    folder.mkdir(parents=True)
    old = Series("door", "aaaaaa", "result")
    with StoredOutbox() as outbox:
        place = publisher_folder(folder)
        place.mkdir()
        outbox.use(place, OutboxPlan())
        _step_until(outbox, lambda box: box.ready)
        for seq in range(1, count + 1):
            outbox.put(old, seq, dumps(encode(result(seq, boot="aaaaaa", objects=2))), late=True)
            if seq % 2000 == 0 or seq == count:
                _step_until(outbox, lambda box, seq=seq: any(acked.seq == seq for acked in box.safe()))
        outbox.ended("aaaaaa", ())
    broker = Broker(folder, *UNLIMITED)
    with broker, Subscriber(broker.port, topic=f"{P}/+/result") as subscriber, Room() as room:
        began, sent = time.monotonic(), {}
        room.start(plan(mqtt_plan(broker.port, max_rate=rate), state_dir=str(folder)))
        room.wait(lambda: room.hellos, "greeting")
        seq = 0
        while len(subscriber.heard) < seq + count:
            seq += 1
            sent[seq] = time.monotonic()
            room.hand_over(result(seq))
            room.listen()
            time.sleep(0.2)
            assert time.monotonic() - began < 1800, "the backlog does not drain"
        took = time.monotonic() - began
        eventually(lambda: len(subscriber.heard) >= seq + count, "the live ones")
        ages = sorted(one.at - sent[one.value["seq"]] for one in subscriber.heard if one.value["boot"] == BOOT)
        assert room.stop() == 0
    late = [one.value["seq"] for one in subscriber.heard if one.value["boot"] == "aaaaaa"]
    return [
        Figure(f"seconds to drain {count} waiting results", took, 900, note=f"max_rate {rate >> 20}M"),
        Figure("seconds until a live result arrives meanwhile, worst", ages[-1], 2.0, note=f"of {len(ages)}"),
        Figure("results of the backlog out of order or twice", _faulty(late, count), 0),
    ]


def _faulty(seqs: list[int], count: int) -> int:
    return sum(found != seq for found, seq in zip(seqs, range(1, count + 1), strict=False)) + abs(len(seqs) - count)
