"""The daemon as its operator meets it: starts, reloads, refusals, hung rooms, signals, systemd."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_infer.supervisor.control.server import ask
from tests.broker import Broker, Subscriber, eventually, free_port
from tests.running import MODEL, PYTHON, Daemon, alive, config

P = "edge-infer/box"
TWO = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {model}}}
sources:
  one: {{kind: synthetic, size: 320x240, seed: 1}}
  two: {{kind: synthetic, size: 320x240, seed: 2}}
pipelines:
  one: {{source: one, model: faces, threads: 1, publish: every, fps: 5}}
  two: {{source: two, model: faces, threads: 1, publish: every, fps: 5}}
"""


@pytest.fixture
def daemon(tmp_path: Path, broker: Broker) -> Iterator[Daemon]:
    (tmp_path / "box").mkdir()
    with Daemon(tmp_path / "box", config(broker.port)) as running:
        running.wait_serving()
        yield running


def two(port: int) -> str:
    return TWO.format(port=port, model=MODEL)


def test_status_tells_rooms_sources_broker_configuration_and_the_last_error(daemon: Daemon) -> None:
    status = json.loads(daemon.command("status", "--json").stdout)
    assert set(status["rooms"]) == {"engine", "publisher"}
    assert status["sources"]["cam"]["state"] == "ok"
    assert status["broker"]["connected"]
    assert status["config"]["state"] == "applied"
    assert status["last_error"] is None
    text = daemon.command("status").stdout
    assert f"pid {status['rooms']['engine']['pid']}" in text
    assert "model     faces: active 1.0.0" in text
    os.kill(status["rooms"]["engine"]["pid"], signal.SIGKILL)
    eventually(lambda: "SIGKILL" in ((daemon.status().get("last_error") or {}).get("text", "")), "word of the kill")


def test_a_second_daemon_on_the_same_state_ends_with_3_and_disturbs_nothing(daemon: Daemon) -> None:
    second = daemon.command("run")
    assert second.returncode == 3
    assert f"pid {daemon.pid}" in second.stderr
    assert daemon.status()["broker"]["connected"]


def test_a_reload_that_is_rejected_changes_nothing_and_says_why(daemon: Daemon, subscriber: Subscriber) -> None:
    rooms = daemon.pids()
    daemon.config.write_text(daemon.config.read_text().replace("publish: every", "publsh: every"))
    answer = daemon.command("reload")
    assert answer.returncode == 2
    assert "config.yaml:8: pipelines.faces.publsh" in answer.stderr
    said = subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "rejected").value
    assert "publsh" in said["errors"][0]
    assert daemon.pids() == rooms
    moment = time.monotonic()
    subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment)


def test_a_reload_restarts_only_what_changed_and_clears_what_is_gone(
    daemon: Daemon, broker: Broker, subscriber: Subscriber
) -> None:
    daemon.config.write_text(two(broker.port))
    assert daemon.command("reload").returncode == 0
    first = subscriber.wait(f"{P}/two/result").value
    subscriber.wait(f"{P}/faces/state", lambda heard: heard.payload == b"")
    daemon.config.write_text(two(broker.port).replace("seed: 1", "seed: 7"))
    assert daemon.command("reload").returncode == 0
    moment = time.monotonic()
    subscriber.wait(f"{P}/one/result", lambda heard: heard.at > moment)
    later = subscriber.wait(f"{P}/two/result", lambda heard: heard.at > moment).value
    assert later["boot"] == first["boot"]
    numbers = [heard.value["seq"] for heard in subscriber.on(f"{P}/two/result")]
    assert numbers == list(range(1, len(numbers) + 1))
    nulls = [heard.at for heard in subscriber.on(f"{P}/two/state") if heard.value.get("reason")]
    assert max(nulls) < subscriber.on(f"{P}/two/result")[0].at


def test_a_question_that_the_engine_could_not_take_costs_an_answer_only(daemon: Daemon) -> None:
    engine = daemon.pids()["engine"]
    done = daemon.command("why", "--label", "x" * 200)
    assert done.returncode == 1
    assert "WhyQuestion.label: expected `str` of length <= 128" in done.stderr
    said = ask(daemon.folder / "state" / "control.sock", {"do": "grab", "source": "x" * 200})
    assert "needs the name of a source" in said["error"]
    assert daemon.command("why").returncode == 0  # by the same engine
    assert daemon.pids()["engine"] == engine


def test_sighup_reloads(daemon: Daemon, broker: Broker, subscriber: Subscriber) -> None:
    daemon.config.write_text(two(broker.port))
    daemon.signal(signal.SIGHUP)
    subscriber.wait(f"{P}/two/result")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_of_users_end_nothing(number: signal.Signals, daemon: Daemon, subscriber: Subscriber) -> None:
    """``systemctl kill --signal=USR1`` sends one to all processes of the unit."""
    boot, before = subscriber.wait(f"{P}/faces/result").value["boot"], daemon.pids()
    moment = time.monotonic()
    for pid in before.values():
        os.kill(pid, number)
    daemon.signal(number)
    subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment + 1 and heard.value["boot"] == boot)
    assert daemon.pids() == before


def test_with_a_broken_file_the_last_applied_configuration_starts_loudly(
    daemon: Daemon, subscriber: Subscriber
) -> None:
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    daemon.config.write_text(daemon.config.read_text() + "nonsense: 1\n")
    moment = time.monotonic()
    daemon.start()
    daemon.wait_serving()
    subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment)
    subscriber.wait(f"{P}/config", lambda heard: heard.at > moment and heard.value["state"] == "rejected")
    assert "REJECTED" in daemon.log.read_text()


def test_a_hung_engine_is_killed_and_replaced(daemon: Daemon, subscriber: Subscriber) -> None:
    boot = subscriber.wait(f"{P}/faces/result").value["boot"]
    engine = daemon.pids()["engine"]
    os.kill(engine, signal.SIGSTOP)
    subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["boot"] != boot, deadline=40)
    assert not alive(engine)
    assert {heard.payload for heard in subscriber.on(f"{P}/status")} == {b"online"}


def test_a_stopped_publisher_does_not_stop_inference_and_nothing_is_lost(
    daemon: Daemon, subscriber: Subscriber
) -> None:
    subscriber.wait(f"{P}/faces/result")
    rooms = daemon.pids()
    os.kill(rooms["publisher"], signal.SIGSTOP)
    before = daemon.status()["pipelines"]["faces"]["produced"]
    eventually(lambda: daemon.status()["pipelines"]["faces"]["produced"] > before + 20, "inference that goes on")
    os.kill(rooms["publisher"], signal.SIGCONT)
    last = daemon.status()["pipelines"]["faces"]["produced"]
    subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["seq"] >= last)
    numbers = [heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert daemon.pids()["engine"] == rooms["engine"]


def test_a_stop_while_the_publisher_is_down_loses_nothing_and_says_goodbye(
    daemon: Daemon, subscriber: Subscriber
) -> None:
    first = subscriber.wait(f"{P}/faces/result").value["seq"]
    for _ in range(5):  # until its back-off is long
        publisher = eventually(lambda: daemon.pids().get("publisher"), "publisher")
        os.kill(publisher, signal.SIGKILL)
        eventually(lambda p=publisher: daemon.pids().get("publisher") != p, "end of the publisher")
    produced = eventually(lambda: daemon.status()["pipelines"].get("faces"), "report")["produced"]
    moment = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    subscriber.wait(f"{P}/status", lambda heard: heard.at > moment and heard.payload == b"offline")
    with closing(sqlite3.connect(daemon.config.parent / "state" / "publisher" / "outbox.sqlite")) as outbox:
        waiting = {seq for (seq,) in outbox.execute("SELECT seq FROM entry")}  # for the next start

    def numbers() -> set[int]:
        return {heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")}

    wanted = set(range(first, produced + 1))  # an older one that was on the disk may come again
    # "offline" may be that of a killed publisher: then the last results are still on their way.
    eventually(lambda: numbers() | waiting >= wanted, lambda: f"{wanted} in {numbers()} and {waiting}", 5.0)


def test_a_publisher_that_is_killed_with_the_stop_loses_nothing(daemon: Daemon, subscriber: Subscriber) -> None:
    first = subscriber.wait(f"{P}/faces/result").value["seq"]  # earlier ones, which nobody heard, may come again
    publisher = daemon.pids()["publisher"]
    os.kill(publisher, signal.SIGSTOP)  # results wait in its channel
    before = daemon.status()["pipelines"]["faces"]["produced"]
    produced = eventually(
        lambda: reached if (reached := daemon.status()["pipelines"]["faces"]["produced"]) > before + 3 else 0, "results"
    )
    moment = time.monotonic()
    daemon.signal(signal.SIGTERM)
    os.kill(publisher, signal.SIGKILL)
    assert daemon.wait(20) == 0
    subscriber.wait(f"{P}/status", lambda heard: heard.at > moment and heard.payload == b"offline")
    numbers = {heard.value["seq"] for heard in subscriber.on(f"{P}/faces/result")}
    assert numbers >= set(range(first, produced + 1))


def test_a_live_source_lives_in_a_reader_that_may_die(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    camera = tmp_path / "camera.py"
    camera.write_text(
        "import sys, time\nn = 0\n"
        "while True:\n n += 1\n sys.stdout.buffer.write(bytes([n % 256]) * (64 * 48 * 3))\n"
        " sys.stdout.buffer.flush()\n time.sleep(0.1)\n"
    )
    source = f"cam: {{kind: exec, command: [{PYTHON}, {camera}], size: 64x48, format: rgb24}}"
    (tmp_path / "box").mkdir()
    text = config(broker.port)
    line = next(line for line in text.splitlines() if line.startswith("  cam:"))
    with Daemon(tmp_path / "box", text.replace(line, f"  {source}")) as daemon:
        daemon.wait_serving()
        subscriber.wait(f"{P}/faces/result")
        engine, reader = (daemon.pids()[room] for room in ("engine", "reader cam"))
        os.kill(reader, signal.SIGKILL)
        moment = time.monotonic()
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment + 0.5)
        assert daemon.pids()["engine"] == engine
        os.kill(engine, signal.SIGKILL)  # … and its reader goes on while the engine is away
        boot = subscriber.on(f"{P}/faces/result")[-1].value["boot"]
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["boot"] != boot)
        reader = daemon.pids()["reader cam"]
        os.kill(reader, signal.SIGSTOP)  # a camera that hangs
        lost = subscriber.wait(f"{P}/faces/state", lambda heard: heard.value.get("reason") == "source_lost")
        assert lost.value["counts"] is None
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > lost.at, deadline=40)
        assert not alive(reader)
        picture = tmp_path / "picture.png"
        grabbed = daemon.command("cameras", "--grab", "cam", "-o", str(picture))
        assert grabbed.returncode == 0, grabbed.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (("publish: every", "publish: sometimes"), 2, "pipelines.faces.publish"),
        ((str(MODEL), "/nowhere/model.tflite"), 3, "/nowhere/model.tflite"),
        (("port:", "username: u, password_file: none.pass, port:"), 3, "mqtt.password_file"),
        (("state_dir: state", "state_dir: /proc/state"), 3, "/proc/state"),
    ],
)
def test_what_cannot_start_says_why_with_the_right_exit_code(
    tmp_path: Path, change: tuple[str, str], code: int, word: str
) -> None:
    daemon = Daemon(tmp_path, config(free_port()).replace(*change))
    ended = daemon.command("run")
    assert ended.returncode == code, ended.stderr
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_reload_and_status_without_a_daemon_say_so(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, config(free_port()))
    for command in ("reload", "status"):
        ended = daemon.command(command)
        assert ended.returncode == 1
        assert "edge-infer run" in ended.stderr


def test_systemd_hears_ready_watchdog_and_stopping(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        (tmp_path / "notify").chmod(0o777)  # as systemd has it
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        (tmp_path / "box").mkdir()

        def hear(word: str) -> None:
            while not (heard and word in heard[-1]):
                heard.append(systemd.recv(4096).decode())

        with Daemon(tmp_path / "box", config(broker.port)) as daemon:
            hear("READY=1")
            assert "STATUS=" in heard[-1]
            hear("WATCHDOG=1")
            hear("1/1 models serve, 1/1 sources ok")
            daemon.signal(signal.SIGTERM)
            hear("STOPPING=1")
            assert daemon.wait(20) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into rooms that are not dumpable")
def test_each_running_room_has_loaded_only_its_own(daemon: Daemon) -> None:
    rooms = daemon.pids()

    def libraries(pid: int) -> set[str]:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return {Path(line.split()[-1]).name.partition(".")[0] for line in lines if ".so" in line}

    engine, publisher, supervisor = (libraries(pid) for pid in (rooms["engine"], rooms["publisher"], daemon.pid))
    assert {"_multiarray_umath", "cv2"} <= engine
    assert not engine & {"_socket", "_ssl", "libssl", "_pydantic_core"}
    assert "_ssl" in publisher
    assert not publisher & {"_multiarray_umath", "cv2", "_pydantic_core", "_pywrap_litert_interpreter_wrapper"}
    assert not supervisor & {"_multiarray_umath", "cv2", "_ssl", "_pydantic_core", "_yaml"}


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("publisher", {"numpy", "cv2", "pydantic", "yaml"}),
        ("engine", {"paho", "ssl", "http", "socket", "psutil", "pydantic", "yaml"}),
        ("supervisor", {"numpy", "cv2", "paho", "ssl", "pydantic", "yaml"}),
    ],
)
def test_importing_a_room_loads_nothing_of_another(room: str, forbidden: set[str]) -> None:
    main = "daemon" if room == "supervisor" else "process"
    code = f"import sys, json, edge_infer.{room}.{main}; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))
    assert not loaded & forbidden
