"""``edge-infer unit``: what it opens is what the configuration needs, in words that systemd takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import MODEL, ROOT

CONFIG = f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 192.0.2.7, username: edge, password_file: mqtt.pass}}
models:
  faces: {{file: {MODEL}}}
sources:
  door: {{kind: v4l2, device: /dev/full}}
  yard: {{kind: rtsp, url: "rtsp://192.0.2.9/stream", username: viewer, password_file: cam.pass}}
  clip: {{kind: synthetic}}
pipelines:
  faces: {{source: door, model: faces}}
"""


def unit(folder: Path, text: str) -> tuple[int, str, str]:
    """What the command says of a configuration."""
    (folder / "config.yaml").write_text(text)
    for name in ("mqtt.pass", "cam.pass"):
        (folder / name).write_text("secret\n")
        (folder / name).chmod(0o600)
    command = [sys.executable, "-m", "edge_infer", "unit", "-c", str(folder / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_devices_addresses_and_credentials_of_the_configuration_and_no_others(tmp_path: Path) -> None:
    code, text, _ = unit(tmp_path, CONFIG)
    assert code == 0
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:3] == ["[Service]", "DeviceAllow=", "DeviceAllow=/dev/full rw"]
    assert "IPAddressDeny=any" in lines
    assert "IPAddressAllow=192.0.2.7 192.0.2.9" in lines
    credentials = [line for line in lines if line.startswith("LoadCredential=")]
    assert credentials == [f"LoadCredential={name}:{tmp_path}/{name}" for name in ("mqtt.pass", "cam.pass")]


def test_a_program_that_opens_what_it_wants_is_let_and_told(tmp_path: Path) -> None:
    camera = "kind: exec, command: [sleep, '1'], size: 64x48, network: true"
    _, text, _ = unit(tmp_path, CONFIG.replace("kind: v4l2, device: /dev/full", camera))
    assert "DeviceAllow=char-* rw" in text
    assert "IPAddressDeny" not in text
    assert "# a source of kind exec with network: true may connect to any host" in text


def test_a_wrong_configuration_prints_its_problems_and_nothing_else(tmp_path: Path) -> None:
    code, text, told = unit(tmp_path, CONFIG.replace("kind: v4l2", "kind: v4l3"))
    assert (code, text) == (2, "")
    assert "sources.door" in told


def test_a_credential_of_the_service_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/mqtt.pass").write_text("other\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    from edge_infer.config.compile.compile import compile_config

    unit(tmp_path, CONFIG)
    plan = compile_config(tmp_path / "config.yaml").plan
    assert plan is not None
    assert plan.mqtt.password_file == str(tmp_path / "credentials/mqtt.pass")
    assert plan.sources[1].options["password_file"] == str(tmp_path / "cam.pass")


def test_systemd_reads_names_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "100%n.pass").write_text("secret\n")
    (tmp_path / "100%n.pass").chmod(0o600)
    code, text, told = unit(tmp_path, CONFIG.replace("mqtt.pass", "100%n.pass"))
    assert code == 0, told
    assert f"LoadCredential=100%%n.pass:{tmp_path}/100%%n.pass" in text.splitlines()


@pytest.mark.parametrize("name", ["a:b.pass", "a\\b.pass"])
def test_a_file_whose_name_no_credential_can_have_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("secret\n")
    (tmp_path / name).chmod(0o600)
    code, text, told = unit(tmp_path, CONFIG.replace("mqtt.pass", f"'{name}'"))
    assert (code, text) == (2, "")
    assert f"{name}: the name of a credential must not contain a colon or a backslash; rename the file" in told


def test_a_path_cannot_add_lines(tmp_path: Path) -> None:
    folder = tmp_path / "box\nExecStartPre=touch x\n#"
    folder.mkdir()
    code, text, told = unit(folder, CONFIG)
    assert (code, text) == (2, "")
    assert "a unit file must not contain a line break" in told
    assert all(line.startswith("edge-infer:") for line in told.splitlines())


def test_with_it_the_unit_is_less_exposed_and_still_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    _, text, _ = unit(tmp_path, CONFIG)
    whole = tmp_path / "edge-infer.service"
    service = (ROOT / "systemd/edge-infer.service").read_text().partition("[Install]")[0]
    whole.write_text(service + text.partition("[Service]")[2])
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    exposure = float(done.stdout.rpartition("edge-infer.service: ")[2].split()[0])
    print(exposure)
    assert exposure <= 1.5, done.stdout
    assert "Unknown" not in done.stderr
