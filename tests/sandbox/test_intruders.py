"""An attacker in each process of a daemon, and in what those start, asks for pictures over the control socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Broker, eventually
from tests.readers.conftest import free_port
from tests.running import MODEL, Daemon, config

INTRUDER = Path(__file__).parent / "intruder"
CAMERA = """
import os, sys, time
import sitecustomize
sitecustomize.attack("exec child")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while os.getppid() == os.getsid(0):
            time.sleep(0.01)
        sitecustomize.attack("exec orphan")
    os._exit(0)
while True:
    sys.stdout.buffer.write(bytes(64 * 48 * 3))
    sys.stdout.buffer.flush()
    time.sleep(0.05)
"""
KEPT_OUT = {"refused", "EPERM", "EACCES"}


class Notes:
    """What the attackers noted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.environment = {
            "PYTHONPATH": str(INTRUDER),
            "INTRUDER_NOTES": str(self.path),
            "INTRUDER_SOCKET": str(folder / "state/control.sock"),
            "INTRUDER_SOURCE": "live",
            "INTRUDER_SPARES": str(os.getpid()),  # this process, whose later tests need what an attacker takes
        }

    def all(self) -> list[dict[str, Any]]:
        """Those of attackers that found a daemon."""
        lines = self.path.read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [each for each in found if not {"ENOENT", "ECONNREFUSED"} & set(each["answers"].values())]

    def names(self) -> set[str]:
        return {each["name"] for each in self.all()}

    def outside(self) -> dict[str, Any]:
        """The outcome of the same attack by a process that the daemon has not started."""
        code = "import sitecustomize; sitecustomize.attack('outside', 60.0)"
        environment = {**os.environ, **self.environment}
        subprocess.run([sys.executable, "-c", code], env=environment, timeout=200, check=True)
        return self.all()[-1]


@contextmanager
def attacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str = "", before: tuple[str, ...] = ()
) -> Iterator[tuple[Daemon, Notes]]:
    """A daemon with a camera that is a program, and attackers in all of its processes."""
    notes = Notes(folder)
    notes.path.touch()
    notes.path.chmod(0o666)  # a daemon of root becomes another user
    (folder / "camera.py").write_text(CAMERA)
    for name, value in notes.environment.items():
        monkeypatch.setenv(name, value)
    with Broker(folder) as broker:
        live = (
            f"  live: {{kind: exec, command: [{sys.executable}, {folder / 'camera.py'}], size: 64x48, format: rgb24}}\n"
        )
        text = config(broker.port).replace("sources:\n", f"sources:\n{live}{extra}")
        with Daemon(folder, text, before=before) as daemon:
            for name in notes.environment:
                monkeypatch.delenv(name)
            daemon.wait_serving(60.0)
            yield daemon, notes


def kept_out(notes: Notes) -> bool:
    """Whether no attacker got an answer or a byte of a picture."""
    got = [each for each in notes.all() if each["bytes"] or not set(each["answers"].values()) <= KEPT_OUT]
    assert got == []
    return True


def test_no_process_of_the_daemon_gets_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = (
        f"  net: {{kind: http, url: 'http://127.0.0.1:{free_port()}/cam'}}\n"
        f"  sensor: {{kind: mqtt, host: 127.0.0.1, port: {free_port()}, topic: t, columns: [x], rate: 10}}\n"
        "  port: {kind: serial, device: /dev/ttyEDGE, columns: [x], rate: 10}\n"
        "  camera: {kind: v4l2, device: /dev/video99}\n"
    )
    with attacked(tmp_path, monkeypatch, extra) as (daemon, notes):
        other = tmp_path / "other.tflite"
        other.write_bytes(MODEL.read_bytes() + bytes(4))  # it was never tried
        daemon.config.write_text(daemon.config.read_text().replace(str(MODEL), str(other)))
        assert daemon.reload()["state"] == "applied"
        everybody = {
            "edge_infer.engine", "edge_infer.publisher", "edge_infer.readers", "edge_infer.config",
            "edge_infer.config orphan", "edge_infer.models.trials.probe_main", "exec child", "exec orphan",
        }  # fmt: skip
        eventually(lambda: notes.names() >= everybody, lambda: f"attacks by {everybody - notes.names()}", 90.0)
        assert kept_out(notes)
        eventually(lambda: "edge_infer.models.trials.fast_path_main" in notes.names(), "attack by the last child", 60.0)
        log = daemon.log.read_text()
        readers = {each["pid"] for each in notes.all() if each["name"] == "edge_infer.readers"}
        for name in ("live", "net", "sensor", "port", "camera"):
            assert any(f"reader {name} started, pid {pid}\n" in log for pid in readers), name
        assert kept_out(notes)
        gated = {each["name"] for each in notes.all() if set(each["answers"].values()) == {"refused"}}
        assert gated >= {"exec child", "exec orphan"}, "these may make a socket"
        assert notes.outside()["answers"] == dict.fromkeys(("status", "grab", "reload"), "answered")
        assert notes.all()[-1]["bytes"] > 0
        assert "sent a picture of source live to" in daemon.log.read_text()
        assert daemon.log.read_text().count("sent a picture") == 1


def test_a_daemon_without_message_queues_gives_its_processes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attacked(tmp_path, monkeypatch, before=("prlimit", "--msgqueue=0:0", "--")) as (_, notes):
        everybody = {"edge_infer.engine", "edge_infer.publisher", "exec child", "exec orphan"}
        eventually(lambda: notes.names() >= everybody, lambda: f"attacks by {everybody - notes.names()}", 60.0)
        assert kept_out(notes)
        assert set(notes.outside()["answers"].values()) == {"answered"}


def test_a_publisher_in_the_process_of_the_supervisor_gets_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attacked(tmp_path, monkeypatch) as (daemon, notes):
        daemon.config.write_text(f"rooms: merged\n{daemon.config.read_text()}")
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: daemon.pid in {each["pid"] for each in notes.all()}, "attack in the supervisor", 60.0)
        assert kept_out(notes)
