"""``edge-infer unit``: what it opens is what the configuration needs, in words that systemd takes."""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.plan.credentials import DROP_IN, credential_name
from edge_infer.sandbox.needs import look_ups
from edge_infer.sandbox.other_services import AVAHI, CLOSED, RESOLVED, STUB
from edge_infer.sandbox.systemd_dropin import services
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
    head = "\n".join(line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   "))
    assert subprocess.run(["sh", "-n"], input=head, text=True, check=False).returncode == 0
    folder = tmp_path / "service.d"  # as on a fresh box it does not exist
    install = head.replace("sudo edge-infer", f"{sys.executable} -m edge_infer").replace("sudo ", "")
    done = subprocess.run(
        ["sh", "-ec", "systemctl() { echo systemctl $*; }\n" + install.replace(DROP_IN, f"{folder}/box.conf")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "systemctl daemon-reload\nsystemctl restart edge-infer\n"
    assert (folder / "box.conf").read_text() == text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:3] == ["[Service]", "DeviceAllow=", "DeviceAllow=/dev/full rw"]
    assert "IPAddressDeny=any" in lines
    assert "IPAddressAllow=192.0.2.7 192.0.2.9" in lines
    credentials = [line for line in lines if line.startswith("LoadCredential=")]
    paths = [f"{tmp_path}/{name}" for name in ("mqtt.pass", "cam.pass")]
    assert credentials == [f"LoadCredential={credential_name(path)}:{path}" for path in paths]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another group")
def test_a_device_outside_of_dev_or_another_file_gives_the_service_no_group(tmp_path: Path) -> None:
    """Its author would get the group of the disks, or of a socket of another service."""
    (tmp_path / "other").touch()
    os.chown(tmp_path / "other", 0, grp.getgrnam("disk").gr_gid)
    for path in (f"/dev/../{tmp_path}/other", f"/dev/shm/../..{tmp_path}/other"):
        code, text, error = unit(tmp_path, CONFIG.replace("/dev/full", path))
        assert code == 0, error
        assert "other" not in text
        assert "disk" not in text
    link = Path(f"/dev/shm/edge-infer-{os.getpid()}")
    link.symlink_to(tmp_path / "other")
    try:
        code, text, error = unit(tmp_path, CONFIG.replace("/dev/full", str(link)))
    finally:
        link.unlink()
    assert code == 0, error
    assert "disk" not in text


def test_it_opens_the_service_that_finds_a_name_and_no_other() -> None:
    closed = [f"-{path}" for path in CLOSED]
    assert list(services(["192.0.2.7"], lambda _: ())) == [f"InaccessiblePaths={' '.join(closed)}"]
    closed.remove(f"-{AVAHI}")
    assert list(services(["192.0.2.7", "cam.local"], lambda host: (AVAHI,) if host == "cam.local" else ())) == [
        f"# cam.local is looked up over {AVAHI}, which programs of sources reach as well",
        "InaccessiblePaths=",
        f"InaccessiblePaths={' '.join(closed)}",
    ]


def test_it_closes_the_folder_of_systemd_resolved_where_that_is_the_name_server(tmp_path: Path) -> None:
    link = tmp_path / "resolv.conf"
    link.symlink_to(STUB)
    assert list(services([], lambda _: (), link))[1:] == [
        f"TemporaryFileSystem={Path(STUB).parent}:ro",
        f"BindReadOnlyPaths=-{STUB}",
    ]
    assert list(services(["broker"], lambda _: (RESOLVED,), link))[3:] == []
    assert list(services(["broker", "192.0.2.7"], lambda _: (), link))[1:] == [], "its domain is in the file"


def test_the_hosts_in_the_command_of_a_program_with_network_are_looked_up(tmp_path: Path) -> None:
    text = CONFIG.replace(
        "  clip:",
        '  seen: {kind: exec, command: [cat, "rtsp://u:p@cam.local:554/a"], size: 64x48, network: true}\n  clip:',
    )
    (tmp_path / "config.yaml").write_text(text)
    for name in ("mqtt.pass", "cam.pass"):
        (tmp_path / name).write_text("secret\n")
        (tmp_path / name).chmod(0o600)
    compiled = compile_config(tmp_path / "config.yaml")
    assert compiled.plan is not None, compiled.problems
    assert (("sources", "seen"), "cam.local") in list(look_ups(compiled.plan))


TWO_CAMERAS = CONFIG.replace("cam.pass}", "a/cam.pass}").replace(
    "  clip:",
    '  back: {kind: rtsp, url: "rtsp://192.0.2.8/stream", username: viewer, password_file: b/cam.pass}\n  clip:',
)


def two_cameras(folder: Path) -> None:
    """Write the files of two cameras' passwords that have one name."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "cam.pass").write_text(f"of {name}\n")
        (folder / name / "cam.pass").chmod(0o600)


def passwords_of(folder: Path) -> list[str]:
    """Return the passwords of the two cameras as their readers would read them."""
    compiled = compile_config(folder / "config.yaml")
    assert compiled.plan is not None, compiled.problems
    files = [source.options["password_file"] for source in compiled.plan.sources[1:3]]
    return [Path(str(file)).read_text().strip() for file in files]


def test_files_of_one_name_are_credentials_of_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_cameras(tmp_path)
    code, text, told = unit(tmp_path, TWO_CAMERAS)
    assert code == 0, told
    copies = tmp_path / "credentials"
    copies.mkdir()
    for line in text.splitlines():  # as systemd does: of two lines with one name the second one counts
        if line.startswith("LoadCredential="):
            name, _, path = line.removeprefix("LoadCredential=").partition(":")
            shutil.copy(path, copies / name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    assert passwords_of(tmp_path) == ["of a", "of b"]
    plan = compile_config(tmp_path / "config.yaml").plan
    assert plan is not None
    assert all(str(source.options["password_file"]).startswith(str(copies)) for source in plan.sources[1:3])


def test_a_credential_of_an_older_drop_in_is_not_taken_for_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_cameras(tmp_path)
    unit(tmp_path, TWO_CAMERAS)
    copies = tmp_path / "credentials"
    copies.mkdir()
    shutil.copy(tmp_path / "b/cam.pass", copies / "cam.pass")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    assert passwords_of(tmp_path) == ["of a", "of b"]
    (tmp_path / "a/cam.pass").unlink()
    (problem,) = compile_config(tmp_path / "config.yaml").problems
    assert problem.path == "sources.yard.password_file"
    assert "because sources.yard.password_file, sources.back.password_file name different files" in problem.text
    assert problem.text.endswith("edge-infer unit writes a drop-in that tells them apart")


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
    (tmp_path / "credentials/mqtt.pass").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    unit(tmp_path, CONFIG)
    plan = compile_config(tmp_path / "config.yaml").plan
    assert plan is not None
    assert plan.mqtt.password_file == str(tmp_path / "credentials/mqtt.pass")
    assert plan.sources[1].options["password_file"] == str(tmp_path / "cam.pass")
    os.utime(tmp_path / "mqtt.pass", (0, 0))  # older than the copy
    told = {warning.path: warning.text for warning in compile_config(tmp_path / "config.yaml").warnings}
    assert "to write a drop-in with unique names, run: edge-infer unit" in told["mqtt.password_file"]
    (tmp_path / "mqtt.pass").unlink()  # a credential of the operator, perhaps encrypted
    told = {warning.path: warning.text for warning in compile_config(tmp_path / "config.yaml").warnings}
    assert "mqtt.password_file" not in told


def test_systemd_reads_names_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "100%n.pass").write_text("secret\n")
    (tmp_path / "100%n.pass").chmod(0o600)
    code, text, told = unit(tmp_path, CONFIG.replace("mqtt.pass", "100%n.pass"))
    assert code == 0, told
    path = f"{tmp_path}/100%n.pass"
    assert f"LoadCredential={credential_name(path)}:{tmp_path}/100%%n.pass" in text.splitlines()


@pytest.mark.parametrize("name", ["a:b.pass", "a\\b.pass", "100%n.pass", "à b.pass", "x" * 250])
def test_every_file_has_a_credential_name_that_systemd_accepts(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,255}", credential_name(f"/etc/{name}"))


@pytest.mark.parametrize("name", ["a b.pass", 'a"b.pass', "a\\b.pass"])
def test_a_path_from_which_systemd_reads_no_credential_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("secret\n")
    (tmp_path / name).chmod(0o600)
    code, text, told = unit(tmp_path, CONFIG.replace("mqtt.pass", f"'{name}'"))
    assert (code, text) == (2, "")
    assert f"{name}: systemd cannot read a credential from a path with a space" in told


def test_a_path_cannot_add_lines(tmp_path: Path) -> None:
    folder = tmp_path / "box\nExecStartPre=reboot\n#"
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
