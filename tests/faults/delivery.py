"""What faults do to delivery: results are counted one by one, on both sides of them."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_infer.codec import dumps, encode
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import OutboxPlan
from edge_infer.publisher.database import FILE, Database, Limits
from edge_infer.publisher.series import Entry, Series
from edge_infer.publisher.stored import StoredOutbox
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.engine.summing import Entry as Input
from tests.engine.summing import lifting_model
from tests.faults.gate import Gate
from tests.faults.outbox_work import SERIES, payload
from tests.faults.powercut import cut, record
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, mqtt_plan, plan, result
from tests.running import Daemon, alive, config

P = "edge-infer/gate-3"
PIPELINES = 4
RATE = 30
"""Results a second of each pipeline."""
ROOMS = ("engine", "publisher", "both", "supervisor")
DAY = 86400
UNLIMITED = ("max_inflight_messages 0", "max_queued_messages 0")
"""A broker drops nothing that this subscriber is too slow for."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, and what is promised: at most, or at least where ``least``."""

    name: str
    value: float
    promised: float
    least: bool = False
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return self.value >= self.promised if self.least else self.value <= self.promised

    def __str__(self) -> str:
        """One line of the table."""
        sign = ">=" if self.least else "<="
        verdict = "" if self.kept else "   BROKEN"
        return f"{self.name:<62} {self.value:>12.3f}   {sign} {self.promised:<10g} {self.note}{verdict}"


# Kills and outages of a whole daemon


def _text(folder: Path, port: int) -> str:
    """Some hundred results a second of a model that costs nothing: what is measured is delivery."""
    picture = Input("x", (1, 8, 8, 3))
    (folder / "light.tflite").write_bytes(lifting_model(picture, np.zeros((1, 1), np.float32)))
    (folder / "light.yaml").write_text("task: regression\ninput: {mean: 0, std: 255}\nvalues: [{name: light}]\n")
    pipelines = "".join(f"  p{number}: {{source: s, model: light, publish: every}}\n" for number in range(PIPELINES))
    return (
        f"device: {{id: gate-3, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {port}, max_rate: 4M}}\n"
        "models:\n  light: {file: light.tflite}\nsources:\n"
        f"  s: {{kind: synthetic, size: 32x32, seed: 1, fps: {RATE}}}\npipelines:\n{pipelines}"
    )


class _Storm:
    """A daemon, a broker behind a gate, and somebody who hears everything that the broker has."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._chance = random.Random(5)
        self._folder = folder
        self._broker = stack.enter_context(Broker(folder, *UNLIMITED))
        self._gate = stack.enter_context(Gate(self._broker.port))
        self.heard: list[Heard] = []
        self._subscriber = Subscriber(self._broker.port, topic=f"{P}/+/result").__enter__()
        stack.callback(self._leave)
        self.daemon = stack.enter_context(Daemon(folder, _text(folder, self._gate.port)))
        self.daemon.wait_serving()
        self.uneven = 0

    def kill(self, room: str) -> None:
        """SIGKILL, and then until everything runs again."""
        pids = eventually(self._serving, "rooms that serve", 60)
        if room == "supervisor":
            self.daemon.signal(signal.SIGKILL)
            self.daemon.wait(10)
            eventually(lambda: not any(alive(pid) for pid in pids.values()), "end of the rooms")
            self.daemon.start()
        else:
            for name in ("engine", "publisher") if room == "both" else (room,):
                os.kill(pids[name], signal.SIGKILL)
        self._look()
        time.sleep(self._chance.uniform(0.5, 3.0))

    def _serving(self) -> dict[str, int]:
        """The rooms, once this engine has given some results; nothing before that."""
        given = sum(pipeline["produced"] for pipeline in self.daemon.status().get("pipelines", {}).values())
        pids = self.daemon.pids()
        return pids if given > 2 * RATE and len(pids) == len(ROOMS) - 2 else {}

    def interrupt(self, how: signal.Signals) -> None:
        """The broker stops, is killed or frozen for a moment. Who hears is there again before the daemon is let in."""
        pause = self._chance.uniform(0.3, 3.0)
        if how == signal.SIGSTOP:
            self._broker.send(signal.SIGSTOP)
            time.sleep(pause)
            self._broker.send(signal.SIGCONT)
        else:
            self._broker.stop(how)
            self._gate.close()
            time.sleep(pause)
            self._broker.start()
            self._leave()
            self._subscriber = Subscriber(self._broker.port, topic=f"{P}/+/result").__enter__()
            self._gate.open()
        self._look()
        time.sleep(self._chance.uniform(0.5, 1.5))

    def settle(self) -> None:
        """Until nothing waits; then the end."""
        self.daemon.wait_serving(60)
        eventually(lambda: (self.daemon.status().get("outbox") or {"pending": 1})["pending"] < 50, "empty outbox", 120)
        self.daemon.signal(signal.SIGTERM)
        assert self.daemon.wait(20) == 0
        time.sleep(1.0)
        self._leave()

    def taken(self) -> dict[tuple[str, str], set[int]]:
        """The numbers of results that the broker has acknowledged, by pipeline and boot.

        A broker that is killed takes with it what it had acknowledged and not yet passed on. That is not ours to keep:
        delivered is what was acknowledged.
        """
        found: dict[tuple[str, str], set[int]] = {}
        for said in self._gate.witness.acknowledged:
            if said.topic.endswith("/result"):
                value = json.loads(said.payload)
                found.setdefault((said.topic.split("/")[2], value["boot"]), set()).add(value["seq"])
        return found

    def _leave(self) -> None:
        self._subscriber.__exit__()
        self.heard += self._subscriber.heard
        self._subscriber.heard = []

    def _look(self) -> None:
        """Whenever anybody looks, the account is even."""
        account = self.daemon.status().get("outbox")
        if account:
            known = account["delivered"] + account["pending"] + sum(account["lost"].values())
            self.uneven += account["produced"] != known


def storm(folder: Path, kills: int, outages: int) -> list[Figure]:
    """Kills of each room and faults of the broker, one after the other, while results flow."""
    with ExitStack() as stack:
        weather = _Storm(folder, stack)
        signals = (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP)
        every = max(1, kills // max(1, outages))
        for number in range(kills):
            weather.kill(ROOMS[number % len(ROOMS)])
            if number % every == 0 and number // every < outages:
                weather.interrupt(signals[number // every % len(signals)])
        weather.settle()
    return _judge(weather, publisher_folder(folder / "state") / FILE, kills, outages)


def _judge(weather: _Storm, file: Path, kills: int, outages: int) -> list[Figure]:
    """Compares what was heard with the account in the file."""
    seen: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for one in weather.heard:
        value = one.value
        series = (one.topic.split("/")[2], value["boot"])
        seen.setdefault(series, []).append((value["seq"], value.get("replay", False)))
    with closing(sqlite3.connect(file)) as account:
        rows = account.execute("SELECT id, pipeline, boot, upto, waiting FROM series WHERE kind = 'result'").fetchall()
        lost = Counter[int]()
        for number, count in account.execute("SELECT series, count FROM loss"):
            lost[number] += count
    known = {(pipeline, boot): (number, upto, waiting) for number, pipeline, boot, upto, waiting in rows}
    taken = weather.taken()
    missing = uncounted = disorder = fallen = 0
    for series, messages in seen.items():
        number, upto, waiting = known.get(series, (0, max(seq for seq, _ in messages), 0))
        heard = {seq for seq, _ in messages}
        arrived = heard | taken.get(series, set())
        fallen += len(arrived - heard)
        gone = max(upto, *arrived) - len(arrived) - waiting
        missing += gone
        uncounted += max(0, gone - lost[number])
        disorder += _disorder(messages)
    results = sum(len({seq for seq, _ in messages}) for messages in seen.values())
    twice = sum(len(messages) for messages in seen.values()) - results
    both = sum(ROOMS[number % len(ROOMS)] == "both" for number in range(kills))
    note = f"{results} results, {kills} kills ({both} of both rooms), {outages} outages, {sum(lost.values())} counted"
    note += f"; {fallen} acknowledged by a broker that was killed before anybody heard them"
    return [
        Figure("results that are missing and not counted", uncounted, 0, note=note),
        Figure("results missing, per kill of engine and publisher at once", missing / max(1, both), RATE * PIPELINES),
        Figure("results that came twice, percent", 100.0 * twice / max(1, results), 5.0),
        Figure("results out of order", disorder, 0),
        Figure("looks at an account that was not even", weather.uneven, 0),
    ]


def _disorder(messages: list[tuple[int, bool]]) -> int:
    """First appearances that are behind a later number, among the live ones and among the late ones."""
    faults, first = 0, set[int]()
    highest = {True: 0, False: 0}
    for seq, late in messages:
        if seq not in first:
            first.add(seq)
            faults += seq < highest[late]
            highest[late] = max(highest[late], seq)
    return faults


# Power cuts


def power_cuts(folder: Path, count: int) -> list[Figure]:
    """The disk as a cut leaves it at any moment of a program's life, opened again."""
    folder.mkdir(parents=True, exist_ok=True)
    program = (
        "import sys; from pathlib import Path; from tests.faults.outbox_work import work; "
        "work(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    (folder / "recorded").mkdir()
    steps = record(program, folder / "recorded", str(max(20, min(300, count // 2))))
    chance = random.Random(11)
    corrupt = lost = more = 0
    for _ in range(count):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            said = cut(steps, chance.randrange(len(steps)), Path(place), chance)
            try:
                missing, further = _after_cut(Path(place), said)
            except sqlite3.Error:
                corrupt += 1
                continue
            lost += missing
            more = max(more, further)
    return [
        Figure("power cuts that left a corrupt file", corrupt, 0, note=f"{count} cuts over {len(steps)} calls"),
        Figure("committed messages that a power cut took", lost, 0),
        Figure("commits of which a cut kept more than was promised", more, 1, note="the one under way"),
    ]


def _after_cut(place: Path, said: list[bytes]) -> tuple[int, int]:
    """Committed messages that are not there, and how many commits the file is ahead of what was said."""
    database = Database(place / FILE, Limits(64 << 20, 1e9), "kernel", 0.0)
    try:
        if database._one("PRAGMA integrity_check") != ("ok",):
            raise sqlite3.DatabaseError("the check of the file fails")
        kept = {entry.seq: entry for entry in _everything(database)}
        rows = {row.series: row for row in database.contents({})}
    finally:
        database.close()
    if not said:
        return 0, 0
    number, first, last = map(int, said[-1].split())
    row = rows.get(SERIES)
    if row is None:
        return last - first + 1, 0
    further = row.lost.get("old", 0) - number
    wanted = range(first, last + 1) if not further else range(min(kept, default=last + 1), last + 1)
    wrong = sum(seq not in kept or kept[seq].payload != payload(seq) for seq in wanted)
    return wrong + (len(kept) != row.waiting) + (further < 0), further


def _everything(database: Database) -> Iterator[Entry]:
    after: int | None = None
    while rows := database.load(SERIES.place, after, 1 << 40):
        yield from rows
        after = rows[-1].number


# Long outages


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


# The publisher alone, fed as the engine feeds it


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


def writes(folder: Path, seconds: int) -> list[Figure]:
    """What the publisher writes to the disk while everything is acknowledged, at ten results a second."""
    folder.mkdir(parents=True)
    with Broker(folder) as broker, Room() as room:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(folder)))
        room.wait_connected()
        assert room.process
        io = Path(f"/proc/{room.process.pid}/io")
        began, seq, before = time.monotonic(), 0, _written(io)
        while (now := time.monotonic()) - began < seconds:
            while seq < (now - began) * 10:
                seq += 1
                room.hand_over(result(seq))
            room.listen()
            time.sleep(0.05)
        room.wait_acked(seq)
        took, written = time.monotonic() - began, _written(io) - before
        assert room.stop() == 0
    megabytes = written / 1e6 * DAY / took
    return [Figure("MB written in a day at 10 results/s, online", megabytes, 50, note=f"from {took:.0f} s")]


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


def inference(folder: Path, seconds: float, rounds: int) -> list[Figure]:
    """Results a second with a broker, without one, and with a publisher that is stopped, in turn.

    On a machine that does other things as well, only results per second of the engine's processor time say something.
    """
    folder.mkdir(parents=True)
    text = config(0, "{kind: synthetic, size: 64x48, seed: 1, realtime: false}").replace(", fps: 10", "")
    rates: dict[str, list[tuple[float, float]]] = {"up": [], "down": [], "stopped": []}
    with Broker(folder) as broker, Daemon(folder, text.replace("port: 0", f"port: {broker.port}")) as daemon:
        daemon.wait_serving()
        for _ in range(rounds):
            rates["up"].append(_rate(daemon, seconds))
            broker.stop()
            rates["down"].append(_rate(daemon, seconds))
            broker.start()
            daemon.wait_serving()
            publisher = daemon.pids()["publisher"]
            os.kill(publisher, signal.SIGSTOP)
            rates["stopped"].append(_rate(daemon, seconds))
            os.kill(publisher, signal.SIGCONT)
            eventually(lambda: (daemon.status().get("outbox") or {"pending": 999})["pending"] < 100, "drained", 60)
    figures = []
    for key, what in (("down", "in an outage"), ("stopped", "with a publisher that is stopped")):
        for index, unit in enumerate(("second", "second of processor time")):
            share = 100 * sum(rate[index] for rate in rates[key]) / sum(rate[index] for rate in rates["up"])
            figures.append(Figure(f"results a {unit} {what}, percent", share, 95, least=True))
    return figures


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


def everything(folder: Path, share: float) -> Iterator[Figure]:
    """All figures; ``share`` of the full numbers."""

    def full(number: int, least: int = 1) -> int:
        return max(least, round(number * share))

    yield from power_cuts(folder / "cuts", full(1000, 20))
    yield from long_outage(folder / "outage", full(72 * 3600, 3000), full(32 << 20, 1 << 20))
    yield from drain(folder / "drain", full(86400, 500))
    yield from writes(folder / "writes", full(600, 5))
    yield from returns(folder / "returns", full(20, 1))
    yield from inference(folder / "inference", max(3.0, 20 * share), full(3, 1))
    yield from storm(folder / "storm", full(204, 4), full(51, 1))
