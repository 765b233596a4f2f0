"""Kills of every room and faults of the broker while results flow; each is counted on both sides."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from edge_infer.platform.paths import publisher_folder
from edge_infer.publisher.outbox.database import FILE
from tests.broker import UNLIMITED, Broker, Heard, Subscriber, eventually
from tests.engine.summing import Entry as Input
from tests.engine.summing import lifting_model
from tests.faults.figure import Figure
from tests.faults.gate import Gate
from tests.running import Daemon, alive

P = "edge-infer/gate-3"
PIPELINES = 4
RATE = 30
"""Results a second of each pipeline."""
ROOMS = ("engine", "publisher", "both", "supervisor")


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
        self.faults: list[tuple[float, str]] = []

    def kill(self, room: str) -> None:
        """SIGKILL, and then until everything runs again."""
        pids = eventually(self._serving, "rooms that serve", 60)
        self.faults.append((time.monotonic(), room))
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
        self.faults.append((time.monotonic(), how.name))
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
        Figure("results that came twice, percent", 100.0 * twice / max(1, results), 5.0, note=_again(weather)),
        Figure("results out of order", disorder, 0),
        Figure("looks at an account that was not even", weather.uneven, 0),
    ]


def _again(weather: _Storm) -> str:
    """After which faults results came again, and how many of them said that they were late."""
    first, found, late = set[tuple[str, str, int]](), Counter[str](), Counter[str]()
    for one in weather.heard:
        value = one.value
        if (key := (one.topic, value["boot"], value["seq"])) in first:
            fault = next((what for at, what in reversed(weather.faults) if at < one.at), "nothing")
            found[fault] += 1
            late[fault] += value.get("replay", False)
        first.add(key)
    return ", ".join(f"{count} after {fault} ({late[fault]} late)" for fault, count in found.most_common())


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
