"""``scripts/demo`` as a user runs it: a real broker, the daemon, the shipped clip and model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from edge_infer.contract.codec import decode
from edge_infer.contract.messages import Result
from tests.broker import eventually

ROOT = Path(__file__).resolve().parent.parent
DEMO = str(ROOT / "scripts" / "demo")


def kinds(lines: Sequence[str]) -> set[str]:
    return {json.loads(line)["topic"].removeprefix("edge-infer/demo/") for line in lines}


def test_json_is_what_a_subscriber_gets_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [DEMO, "--json", "--seconds", "20"], cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert kinds(lines) >= {"status", "info", "config", "model/faces", "faces/result", "faces/state", "health"}
    messages = [json.loads(line) for line in lines]
    assert all(set(message) == {"topic", "payload"} for message in messages)
    results = [decode(Result, m["payload"]) for m in messages if m["topic"] == "edge-infer/demo/faces/result"]
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert any(result.objects for result in results), "the clip shows a face within four seconds"
    farewell = [m["payload"] for m in messages if m["topic"] == "edge-infer/demo/status"]
    assert (farewell[0], farewell[-1]) == ("online", "offline")
    assert list(tmp_path.iterdir()) == [], "its temporary folder is gone"


def running(pid: int) -> list[tuple[str, float, list[str]]]:
    """The state, the processor time and the command of a process and of all below it."""
    top = psutil.Process(pid)
    found = [top, *top.children(recursive=True)]
    return [(each.status(), sum(each.cpu_times()[:2]), each.cmdline()) for each in found]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    shown = tmp_path / "shown"
    with shown.open("wb") as output, subprocess.Popen(
        [DEMO], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    ) as demo:  # fmt: skip
        try:
            eventually(
                lambda: demo.poll() is not None or "face 0." in shown.read_text(),
                lambda: f"a line with a face in {shown.read_text()!r}; {running(demo.pid)}",
                120,
            )
            assert demo.poll() is None, shown.read_text()
            below = psutil.Process(demo.pid).children(recursive=True)
            assert len(below) >= 5  # broker, subscriber, supervisor, engine, publisher
            demo.send_signal(number)
            assert demo.wait(30) == 0, shown.read_text()
        finally:
            demo.kill()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    text = shown.read_text()
    assert "online" in text
    assert "offline" in text
    assert "Where to go next" in text


def test_without_mosquitto_it_installs_no_package_and_shows_the_same(tmp_path: Path) -> None:
    """Also as root, who could. The broker from the package index knows MQTT 3.1.1 only."""
    command = [DEMO, "--json", "--seconds", "20"]
    if (mosquitto := shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")) is not None:
        if os.geteuid() != 0:
            pytest.skip("mosquitto is installed, and only root could hide it")
        hidden = f'mount --bind /dev/null "$(readlink -f {mosquitto})"; exec "$@"'
        command = ["unshare", "--mount", "bash", "-ec", hidden, "bash", *command]
    tried = tmp_path / "bin" / "apt-get"
    tried.parent.mkdir()
    tried.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/installed\nexit 1\n")
    tried.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tried.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a broker from the package index takes its place" in done.stderr
    assert not (tmp_path / "installed").exists()
    assert kinds(done.stdout.splitlines()) >= {"status", "info", "faces/result", "faces/state"}


def test_without_results_it_says_why(tmp_path: Path) -> None:
    """The parts of a copy whose model is damaged start, but nothing comes."""
    copy = tmp_path / "a copy"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    shutil.copytree(ROOT / "models", copy / "models")
    (copy / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite").write_bytes(b"not a model")
    broker = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if broker is None:
        pytest.skip("mosquitto is not installed")
    done = subprocess.run(
        [sys.executable, str(copy / "scripts" / "demo_session.py"), "--broker", broker, "--seconds", "20"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "face_full_range_int8.tflite" in done.stderr
