"""How long faults of whole rooms are felt: each is made for real, many times, and the worst case counts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.broker import DEADLINE, Broker, Heard, Subscriber, eventually, free_port
from tests.readers.conftest import RtspCamera
from tests.running import Daemon, alive, config

P = "edge-infer/box"


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds that one kind of fault was felt, a value a repetition, and the most that is promised."""

    name: str
    seconds: tuple[float, ...]
    promised: float

    def __str__(self) -> str:
        """One line of the table."""
        ranked = sorted(self.seconds)
        middle, worst = ranked[len(ranked) // 2], ranked[-1]
        return f"{self.name:<52} {len(ranked):>4} {middle:>8.2f} {worst:>8.2f} {self.promised:>8.1f}"


HEADER = f"{'fault':<52} {'n':>4} {'median s':>8} {'worst s':>8} {'at most':>8}"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Daemon, Subscriber, Broker]]:
    """A broker, a subscriber and a daemon that publishes every frame of the shipped clip."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        daemon = stack.enter_context(Daemon(folder, config(broker.port)))
        daemon.wait_serving()
        yield daemon, subscriber, broker


def after(
    subscriber: Subscriber,
    topic: str,
    moment: float,
    fits: Callable[[Heard], bool] = lambda _: True,
    deadline: float = DEADLINE,
) -> Heard:
    """The first message on a topic after a moment."""
    return subscriber.wait(topic, lambda heard: heard.at > moment and fits(heard), deadline=deadline)


def engine_kills(folder: Path, repeat: int) -> Figure:
    """SIGKILL to the engine until the next result of another boot; the device stays online all the while."""
    seconds = []
    with serving(folder) as (daemon, subscriber, _):
        for _ in range(repeat):
            served = after(subscriber, f"{P}/faces/result", time.monotonic(), lambda heard: heard.value["seq"] >= 15)
            boot = served.value["boot"]
            moment = time.monotonic()
            os.kill(daemon.pids()["engine"], signal.SIGKILL)
            result = after(subscriber, f"{P}/faces/result", moment, lambda heard, b=boot: heard.value["boot"] != b)
            after(subscriber, f"{P}/faces/state", moment, lambda heard: heard.value.get("reason") == "engine_failed")
            seconds.append(result.at - moment)
        assert {heard.payload for heard in subscriber.on(f"{P}/status")} == {b"online"}
    return Figure("engine killed -> next result", tuple(seconds), 2.0)


def publisher_kills(folder: Path, repeat: int) -> Figure:
    """SIGKILL to the publisher until results flow again; no number is missing and the engine does not notice."""
    seconds = []
    with serving(folder) as (daemon, subscriber, _):
        engine = daemon.pids()["engine"]
        for _ in range(repeat):
            eventually(lambda: daemon.status()["rooms"]["publisher"]["uptime"] > 1.5, "publisher that has served")
            after(subscriber, f"{P}/faces/result", time.monotonic())
            moment = time.monotonic()
            os.kill(daemon.pids()["publisher"], signal.SIGKILL)
            after(subscriber, f"{P}/status", moment, lambda heard: heard.payload == b"online")
            seconds.append(after(subscriber, f"{P}/faces/result", moment + 0.05).at - moment)
        last = after(subscriber, f"{P}/faces/result", time.monotonic()).value["seq"]
        eventually(lambda: _numbers(subscriber) >= set(range(1, last + 1)), "every number from 1 on")
        assert daemon.pids()["engine"] == engine
    return Figure("publisher killed -> next result", tuple(seconds), 5.0)


def engine_freezes(folder: Path, repeat: int) -> Figure:
    """SIGSTOP to the engine until the next result, which is of another boot; the device stays online all the while."""
    seconds = []
    with serving(folder) as (daemon, subscriber, _):
        for _ in range(repeat):
            served = after(subscriber, f"{P}/faces/result", time.monotonic(), lambda heard: heard.value["seq"] >= 15)
            boot = served.value["boot"]
            moment = time.monotonic()
            os.kill(daemon.pids()["engine"], signal.SIGSTOP)
            result = after(subscriber, f"{P}/faces/result", moment, lambda heard, b=boot: heard.value["boot"] != b)
            seconds.append(result.at - moment)
        assert {heard.payload for heard in subscriber.on(f"{P}/status")} == {b"online"}
    return Figure("engine frozen -> next result", tuple(seconds), 8.0)


def publisher_freezes(folder: Path, repeat: int) -> Figure:
    """SIGSTOP to the publisher until results flow again; no number is missing and the engine does not notice."""
    seconds = []
    with serving(folder) as (daemon, subscriber, _):
        engine = daemon.pids()["engine"]
        for _ in range(repeat):
            eventually(lambda: daemon.status()["rooms"]["publisher"]["uptime"] > 1.5, "publisher that has served")
            after(subscriber, f"{P}/faces/result", time.monotonic())
            publisher = daemon.pids()["publisher"]
            os.kill(publisher, signal.SIGSTOP)
            moment = time.monotonic()
            seconds.append(after(subscriber, f"{P}/faces/result", moment + 0.1).at - moment)
            assert not alive(publisher)
        last = after(subscriber, f"{P}/faces/result", time.monotonic()).value["seq"]
        eventually(lambda: _numbers(subscriber) >= set(range(1, last + 1)), "every number from 1 on")
        assert daemon.pids()["engine"] == engine
    return Figure("publisher frozen -> next result", tuple(seconds), 8.0)


def late_brokers(folder: Path, repeat: int) -> Figure:
    """The broker is not there when the daemon starts; from its appearance until `online`."""
    seconds = []
    for number in range(repeat):
        place = folder / str(number)
        place.mkdir(parents=True)
        port = free_port()
        with Daemon(place, config(port)) as daemon:
            eventually(lambda d=daemon: "listens" in d.status().get("broker", {}).get("text", ""), "word of no broker")
            eventually(
                lambda d=daemon: d.status()["pipelines"].get("faces", {}).get("fps", 0) > 0,
                "inference without a broker",
            )
            moment = time.monotonic()
            with Broker(place, port=port) as broker, Subscriber(broker.port) as subscriber:
                online = subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"online", deadline=40)
                seconds.append(online.at - moment)
                subscriber.wait(f"{P}/faces/result")
    return Figure("broker appears -> online", tuple(seconds), 10.0)


def ends(folder: Path, repeat: int) -> Figure:
    """SIGTERM until the exit with code 0; subscribers see null states and `offline`, no process is left."""
    seconds = []
    for number in range(repeat):
        with serving(folder / str(number)) as (daemon, subscriber, _):
            after(subscriber, f"{P}/faces/result", time.monotonic())
            rooms = daemon.pids()
            moment = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(20) == 0
            seconds.append(time.monotonic() - moment)
            assert not [pid for pid in rooms.values() if alive(pid)]
            after(subscriber, f"{P}/status", moment, lambda heard: heard.payload == b"offline")
            state = after(subscriber, f"{P}/faces/state", moment, lambda heard: "reason" in heard.value).value
            assert (state["counts"], state["reason"]) == (None, "stopped")
    return Figure("SIGTERM -> exit 0", tuple(seconds), 5.0)


def supervisor_kills(folder: Path, repeat: int) -> Figure:
    """SIGKILL to the supervisor until its last child is gone; subscribers see `offline`, a new start comes up."""
    seconds = []
    with serving(folder) as (daemon, subscriber, _):
        for _ in range(repeat):
            rooms = daemon.pids()
            moment = time.monotonic()
            daemon.signal(signal.SIGKILL)
            daemon.wait(10)
            eventually(lambda r=rooms: not any(alive(pid) for pid in r.values()), "end of the children")
            seconds.append(time.monotonic() - moment)
            after(subscriber, f"{P}/status", moment, lambda heard: heard.payload == b"offline")
            daemon.start()
            daemon.wait_serving()
            after(subscriber, f"{P}/status", moment, lambda heard: heard.payload == b"online")
            after(subscriber, f"{P}/faces/result", time.monotonic())
    return Figure("supervisor killed -> last child gone", tuple(seconds), 3.0)


def lost_cameras(folder: Path, repeat: int) -> Figure:
    """A network camera dies until its state is null, comes back, and from then until its next result."""
    seconds = []
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        camera = stack.enter_context(RtspCamera())
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        text = config(broker.port, f"{{kind: rtsp, url: '{camera.url}'}}")
        daemon = stack.enter_context(Daemon(folder, text))
        daemon.wait_serving()
        for _ in range(repeat):
            after(subscriber, f"{P}/faces/result", time.monotonic())
            camera.kill()
            moment = time.monotonic()
            lost = after(subscriber, f"{P}/faces/state", moment, lambda heard: heard.value["counts"] is None)
            assert lost.value["reason"] == "source_lost"
            camera.start()
            moment = time.monotonic()
            seconds.append(after(subscriber, f"{P}/faces/result", moment).at - moment)
    return Figure("camera is back -> next result", tuple(seconds), 10.0)


FREEZES = (engine_freezes, publisher_freezes)
FAULTS = (engine_kills, publisher_kills, *FREEZES, late_brokers, ends, supervisor_kills, lost_cameras)


def _numbers(subscriber: Subscriber) -> set[int]:
    return {heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")}
