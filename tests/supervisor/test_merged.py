"""``rooms: merged``: the publisher is a thread of the supervisor's process, and everything arrives all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.sandbox import THREAD_ONLY
from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config

P = "edge-infer/box"
MERGED = "rooms: merged\n"


@pytest.fixture
def daemon(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> Iterator[Daemon]:
    """With somebody who has heard everything from the first number on."""
    (tmp_path / "box").mkdir()
    with Daemon(tmp_path / "box", config(broker.port) + MERGED) as running:
        running.wait_serving()
        yield running


def children(pid: int) -> list[int]:
    """The processes that a process has started, those with it as a whole and not of one thread."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def filters(pid: int) -> list[str]:
    """What each thread of a process says of its filters of system calls: 0 for none, 2 for some; the first is main."""
    threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
    said = [(path / "status").read_text().splitlines() for path in threads]
    return [next(line.split()[1] for line in lines if line.startswith("Seccomp:")) for lines in said]


def whole(subscriber: Subscriber, upto: int) -> bool:
    """Whether every result up to this number has come."""
    return {heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")} >= set(range(1, upto + 1))


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """A process that can open nothing meanwhile."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    before = next(line.split()[3] for line in lines if line.startswith("Max open files"))
    _limit_files(pid, "3")
    try:
        yield
    finally:
        _limit_files(pid, before)


def _limit_files(pid: int, soft: str) -> None:
    """As the user of the process, which may differ from root that has no CAP_SYS_RESOURCE."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    user, group = rows["Uid"].split()[0], rows["Gid"].split()[0]
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"] if os.geteuid() == 0 else []
    subprocess.run([*become, "prlimit", f"--pid={pid}", f"--nofile={soft}:"], check=True)


def test_there_is_one_process_beside_the_engine_and_nobody_is_told_that_its_walls_hold(
    daemon: Daemon, subscriber: Subscriber
) -> None:
    rooms = daemon.pids()
    assert rooms["publisher"] == daemon.pid
    assert children(daemon.pid) == [rooms["engine"]]
    walls = subscriber.wait(f"{P}/info", lambda heard: "publisher" in heard.value["sandbox"].get("seccomp", "")).value
    for wall in ("seccomp", "files"):
        assert f"publisher: {THREAD_ONLY}" in walls["sandbox"][wall]
        assert "engine: enforced" in walls["sandbox"][wall]
    ours, theirs = filters(os.getpid())[0], filters(daemon.pid)
    assert theirs[0] == ours  # the supervisor itself has to start rooms with rights of their own
    assert "2" in theirs[1:]
    said = daemon.log.read_text()
    assert "publisher: connected to 127.0.0.1" in said
    assert "rooms: merged: the publisher is a thread of the supervisor, so it can reach" in said


def test_its_end_is_in_time_and_in_order(daemon: Daemon, subscriber: Subscriber) -> None:
    subscriber.wait(f"{P}/faces/result")
    engine = daemon.pids()["engine"]
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline" and not heard.retain)
    state = subscriber.wait(f"{P}/faces/state", lambda heard: heard.value.get("reason") == "stopped").value
    assert state["counts"] is None
    assert not Path(f"/proc/{engine}").exists()
    numbers = [heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")]
    assert whole(subscriber, max(numbers))


def test_a_fault_of_the_publisher_ends_its_thread_alone_and_nothing_is_lost(
    daemon: Daemon, broker: Broker, subscriber: Subscriber
) -> None:
    engine = daemon.pids()["engine"]
    subscriber.wait(f"{P}/faces/result")
    with no_more_files(daemon.pid):  # a connection that breaks cannot be made anew
        usurper = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="edge-infer-box")
        usurper.connect("127.0.0.1", broker.port)
        usurper.disconnect()
        eventually(lambda: f"ended with exit code {os.EX_IOERR}" in daemon.log.read_text(), "end of the publisher")
    moment = time.monotonic()
    last = subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment + 1.0, 30).value["seq"]
    eventually(lambda: whole(subscriber, last), "every number from 1 on")
    status = daemon.status()
    assert status["rooms"]["publisher"]["restarts"] == 1
    assert daemon.pids() == {"engine": engine, "publisher": daemon.pid}
    assert eventually(lambda: daemon.status()["outbox"], "the account of the new one")["lost"] == {}


def test_a_broker_that_goes_and_comes_costs_nothing(daemon: Daemon, broker: Broker) -> None:
    broker.stop(signal.SIGKILL)
    before = daemon.status()["pipelines"]["faces"]["produced"]
    eventually(lambda: daemon.status()["pipelines"]["faces"]["produced"] > before + 20, "inference that goes on")
    broker.start()
    eventually(lambda: daemon.status()["broker"]["connected"], "connection", 40)
    eventually(lambda: daemon.status()["outbox"]["delivered"] > before + 20, "delivery of what waited")
    assert daemon.status()["outbox"]["lost"] == {}


def test_a_reload_moves_the_publisher_while_everything_goes_on(daemon: Daemon, subscriber: Subscriber) -> None:
    engine, merged = daemon.pids()["engine"], daemon.config.read_text()
    for text, inside in ((merged.replace(MERGED, ""), False), (merged, True)):
        daemon.config.write_text(text)
        assert daemon.reload()["state"] == "applied"
        eventually(lambda i=inside: (pid := daemon.pids().get("publisher")) and (pid == daemon.pid) is i, "move")
        moment = time.monotonic()
        last = subscriber.wait(f"{P}/faces/result", lambda heard, m=moment: heard.at > m + 1.0, 30).value["seq"]
        eventually(lambda n=last: whole(subscriber, n), "every number from 1 on")
    assert daemon.pids()["engine"] == engine
    walls = eventually(lambda: daemon.status().get("walls", {}).get("files"), "walls")
    assert THREAD_ONLY in walls


HANGS = """
import time
import edge_infer.publisher.json_file as keepsake
keepsake.content = lambda path, most: time.sleep(600)
"""


def test_a_publisher_that_hangs_takes_the_daemon_along_because_nobody_can_end_it_alone(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'slow'}:{os.environ.get('PYTHONPATH', '')}")
    with Daemon(tmp_path, config(broker.port) + MERGED) as daemon:
        assert daemon.wait(60) == 1
    said = daemon.log.read_text()
    assert "the daemon now stops, because it cannot kill a thread of its own process" in said
    assert "publisher did not stop in time; as a thread of the supervisor it ends with the supervisor" in said
