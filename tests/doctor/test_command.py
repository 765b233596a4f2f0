"""The command itself, on this machine, with a real broker, a real model and real walls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Broker

ROOT = Path(__file__).parents[2]
CONFIG = """\
device: {{state_dir: {state}}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models: {{faces: {{file: {model}}}}}
sources: {{scene: {{kind: synthetic}}}}
pipelines: {{scene-faces: {{source: scene, model: faces}}}}
"""


def doctor(*words: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, findings by what they are about, and what stood on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_infer", "doctor", "--json", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {finding["what"]: finding for finding in findings}, done.stderr


def written(tmp_path: Path, port: int) -> Path:
    """A configuration that is valid."""
    model = ROOT / "models/face-detect/1.0.0/face_full_range_int8.tflite"
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state", port=port, model=model))
    return path


def test_a_machine_with_everything_but_a_camera(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        code, found, errors = doctor("-c", str(written(tmp_path, broker.port)))
    assert (code, errors) == (0, "")
    assert found["configuration"]["level"] == "ok", found["configuration"]
    assert found["broker"] == {
        "level": "ok",
        "what": "broker",
        "fact": f"127.0.0.1:{broker.port} accepts this device (MQTT 5, not encrypted)",
        "remedy": "",
    }
    assert "ms for the face model" in found["runtime"]["fact"]
    assert found["sandbox"]["level"] == "ok", found["sandbox"]
    assert {"board", "memory", "system", "clock", "state", "cameras", "accelerators"} <= found.keys()
    assert not (tmp_path / "state").exists()  # an examination changes nothing


def test_a_broker_that_is_absent_and_a_broken_configuration(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        port = broker.port
    path = written(tmp_path, port)
    path.write_text(path.read_text() + "pipeline: {}\n")
    code, found, _ = doctor("-c", str(path))
    assert code == 1
    assert found["configuration"]["level"] == "fail"
    assert f"{path}:6: pipeline:" in found["configuration"]["fact"]
    assert found["broker"]["level"] == "warn"
    assert found["broker"]["fact"] == f"nothing listens on 127.0.0.1:{port}"


def test_a_broker_that_the_configuration_does_not_name_rightly_is_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, 99999)
    code, found, _ = doctor("-c", str(path))
    assert code == 1
    assert found["broker"]["fact"].startswith("not examined")


def test_a_file_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    code, found, errors = doctor("-c", str(tmp_path / "none.yaml"))
    assert (code, found) == (2, {})
    assert "none.yaml does not exist" in errors


def test_without_all_of_proc_it_says_why_models_crawl(tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root, where namespaces are allowed, can mount a part of /proc")
    script = 'mount -t proc -o subset=pid proc /proc && exec "$0" -m edge_infer doctor --json'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    found = {finding["what"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert "ProcSubset=pid" in found["processor"]["remedy"]
    assert found["runtime"]["level"] == "warn"
    assert "makes no difference" in found["runtime"]["fact"]


def test_a_container_without_another_user_is_told(tmp_path: Path) -> None:
    words = [
        "unshare",
        "--user",
        "--map-root-user",
        sys.executable,
        "-m",
        "edge_infer",
        "doctor",
        "--json",
        "--sandbox",
    ]
    if subprocess.run([*words[:3], "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system allows no user namespace")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    found = json.loads(done.stdout.splitlines()[0])
    assert (found["what"], found["level"]) == ("user", "warn"), done.stderr
    assert "models run as uid 0, without capabilities" in found["fact"]
