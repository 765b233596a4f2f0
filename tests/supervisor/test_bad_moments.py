"""Signals, deaths and full disks at the moments when they are least welcome."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.broker import Broker, Subscriber, eventually, free_port
from tests.running import MODEL, Daemon, alive, config

P = "edge-infer/box"
SLOW = '''
"""As a large model on a small board, once it has begun."""

import time

from edge_infer.engine.decoders.blazeface import BlazeFace


class Slow(BlazeFace):
    calls = 0

    def __call__(self, tensors):
        self.calls += 1
        if self.calls > 10:
            time.sleep(4.0)
        return super().__call__(tensors)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''


@pytest.fixture
def daemon(box: Path, broker: Broker) -> Iterator[Daemon]:
    with Daemon(box, config(broker.port)) as running:
        running.wait_serving()
        yield running


def children(pid: int) -> list[int]:
    """Process ids of the children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("moment", ["reading", "publisher started", "engine started", "engine spoke"])
def test_sigterm_at_any_moment_of_the_start_is_a_clean_end(box: Path, moment: str) -> None:
    with Daemon(box, config(free_port())) as daemon:
        if moment == "reading":
            eventually(lambda: children(daemon.pid), "child that reads the configuration")
        elif moment == "engine spoke":
            eventually(lambda: daemon.status().get("boot"), "word of the engine", 30)
        else:
            eventually(lambda: moment in daemon.log.read_text(), moment, 30)
        rooms = children(daemon.pid)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0, daemon.log.read_text()
        assert not any(alive(pid) for pid in rooms)


def test_a_slow_model_does_not_spoil_the_end(
    box: Path, broker: Broker, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slow_decoder.py").write_text(SLOW)
    about = tmp_path / "slow_decoder-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-decoder\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edge_infer.decoders]\nslow = slow_decoder:Slow\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    shutil.copy(MODEL, box / "slow.tflite")
    (box / "slow.yaml").write_text("{name: slow, version: 1.0.0, task: detection, decoder: slow, labels: [face]}\n")
    with Daemon(box, config(broker.port).replace(str(MODEL), "slow.tflite")) as daemon:
        daemon.wait_serving()
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["seq"] >= 9, deadline=30)
        moment = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0, daemon.log.read_text()
        subscriber.wait(f"{P}/status", lambda heard: heard.at > moment and heard.payload == b"offline")


def test_a_storm_of_sighup_does_not_keep_a_reload_from_its_end(daemon: Daemon) -> None:
    over = threading.Event()

    def storm() -> None:
        while not over.wait(0.05):
            daemon.signal(signal.SIGHUP)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        daemon.config.write_text(daemon.config.read_text().replace("fps: 10", "fps: 9"))
        assert daemon.command("reload", timeout=45).returncode == 0
        daemon.config.write_text(daemon.config.read_text().replace("fps: 9", "fsp: 9"))
        assert daemon.command("reload", timeout=45).returncode == 2
    finally:
        over.set()
        thread.join(10)


def test_a_full_disk_does_not_end_the_daemon_and_the_reload_holds(daemon: Daemon, subscriber: Subscriber) -> None:
    applied = daemon.folder / "state" / "applied.json"
    applied.unlink()
    applied.mkdir()  # as a full disk: the file cannot be written
    daemon.config.write_text(daemon.config.read_text().replace("faces: {source", "others: {source"))
    assert daemon.command("reload").returncode == 0
    subscriber.wait(f"{P}/others/result")
    assert "applied.json" in daemon.status()["last_error"]["text"]


def test_a_model_that_comes_back_is_announced_again(daemon: Daemon, subscriber: Subscriber) -> None:
    first = daemon.config.read_text()
    subscriber.wait(f"{P}/model/faces", lambda heard: b"active" in heard.payload)
    for text, name in (
        (first.replace("faces: {file", "other: {file").replace("model: faces", "model: other"), "other"),
        (first, "faces"),
    ):
        moment = time.monotonic()
        daemon.config.write_text(text)
        assert daemon.command("reload").returncode == 0
        subscriber.wait(f"{P}/model/{name}", lambda heard, m=moment: heard.at > m and b"active" in heard.payload)
    os.kill(daemon.pids()["publisher"], signal.SIGKILL)  # a new one is told what holds, and nothing that is gone
    moment = time.monotonic()
    subscriber.wait(f"{P}/model/faces", lambda heard: heard.at > moment and b"active" in heard.payload)
    assert not [heard for heard in subscriber.on(f"{P}/model/other") if heard.at > moment and heard.payload]


def test_a_changed_file_of_a_model_is_announced_though_the_configuration_is_the_same(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    shutil.copy(MODEL, box / "own.tflite")
    (box / "own.yaml").write_text("{name: own, version: 1.0.0, task: detection, decoder: blazeface, labels: [face]}\n")
    with Daemon(box, config(broker.port).replace(str(MODEL), "own.tflite")) as daemon:
        daemon.wait_serving()
        first = subscriber.wait(f"{P}/info").value["pipelines"]["faces"]["sha"]
        (box / "own.tflite").write_bytes(MODEL.read_bytes() + bytes(4))
        assert daemon.command("reload").returncode == 0
        subscriber.wait(f"{P}/info", lambda heard: heard.value["pipelines"]["faces"]["sha"] != first)


def test_many_errors_are_told_as_far_as_they_fit(daemon: Daemon, subscriber: Subscriber) -> None:
    wrong = "".join(f"an_unknown_key_with_quite_a_long_name_{'x' * 200}_{number}: 1\n" for number in range(200))
    daemon.config.write_text(daemon.config.read_text() + wrong)
    answer = daemon.command("reload")
    assert answer.returncode == 2
    said = subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "rejected").value
    assert "more; edge-infer check" in said["errors"][-1]


def test_word_of_an_engine_that_died_does_not_undo_what_the_next_one_said(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    cv2.imwrite(str(box / "gray.png"), np.full((64, 64, 3), 128, np.uint8))
    source = "{kind: images, path: gray.png, loop: true, realtime: true, every: 100ms}"
    text = config(broker.port, source).replace("publish: every", "publish: change")
    with Daemon(box, text) as daemon:
        daemon.wait_serving()
        subscriber.wait(f"{P}/faces/state", lambda heard: heard.value["counts"] == {})
        rooms, boot = daemon.pids(), daemon.status()["boot"]
        os.kill(rooms["publisher"], signal.SIGSTOP)
        os.kill(rooms["engine"], signal.SIGKILL)
        eventually(lambda: daemon.status()["boot"] not in (None, boot), "word of the next engine", 30)
        boot = daemon.status()["boot"]
        eventually(lambda: daemon.status()["pipelines"].get("faces", {}).get("fps", 0) > 0, "its frames", 30)
        moment = time.monotonic()
        os.kill(rooms["publisher"], signal.SIGCONT)
        subscriber.wait(f"{P}/faces/state", lambda heard: heard.at > moment and heard.value["boot"] == boot)
        subscriber.wait(f"{P}/info", lambda heard: heard.at > moment and heard.value["boot"] == boot)
        last = subscriber.on(f"{P}/faces/state")[-1].value
        assert (last["boot"], last["counts"]) == (boot, {})


def test_a_supervisor_that_is_killed_while_it_reads_leaves_nobody_behind(daemon: Daemon) -> None:
    before = set(children(daemon.pid))
    daemon.signal(signal.SIGHUP)
    eventually(lambda: set(children(daemon.pid)) - before, "child that reads the configuration")
    everybody = children(daemon.pid)
    everybody += [pid for child in everybody for pid in children(child)]
    daemon.signal(signal.SIGKILL)
    daemon.wait(10)
    eventually(lambda: not any(alive(pid) for pid in everybody), "end of the children")


def test_a_plan_that_fills_every_buffer_arrives(box: Path, broker: Broker, subscriber: Subscriber) -> None:
    text = config(broker.port)
    line = next(line for line in text.splitlines() if line.startswith("  faces: {source"))
    polygons = ", ".join(
        "[" + ", ".join(f"[0.{number:03}123456789, 0.{number % 7}123456789]" for number in range(100)) + "]"
        for _ in range(10)
    )
    lines = [line.replace("faces:", f"p{number}:").replace("}", f", mask: [{polygons}]}}") for number in range(14)]
    with Daemon(box, text.replace(line, "\n".join([line, *lines])).replace("fps: 10", "fps: 1")) as daemon:
        daemon.wait_serving(45)
        subscriber.wait(f"{P}/p13/result", deadline=30)
        assert daemon.status()["rooms"]["engine"]["restarts"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_box_that_starts_with_a_full_disk_serves(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    box = tmp_path / "full"
    (box / "state").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(box / "state")], check=True)
    try:
        with Daemon(box, config(broker.port)) as daemon:
            daemon.wait_serving()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(20) == 0
            with suppress(OSError), (box / "state" / "filler").open("wb") as filler:
                while True:
                    filler.write(b"x" * 65536)
                    filler.flush()
            moment = time.monotonic()
            daemon.start()
            daemon.wait_serving()
            subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment)
    finally:
        subprocess.run(["umount", str(box / "state")], check=True)
