"""Secrets are in their files and in memory, and nowhere else: not in arguments, logs, status, state or payloads."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_infer.models.trials.probe import Probe
from edge_infer.platform.config_files import environment_for
from edge_infer.supervisor.reload.compilation import Compilation
from tests.broker import Broker, Certificates, Subscriber, eventually, free_port
from tests.publisher.test_faults import passwords
from tests.publisher.test_tls import tls_lines
from tests.readers.test_http import camera, stream
from tests.running import Daemon, config
from tests.sandbox.test_cores import UNLIMITED

P = "edge-infer/box"
SECRETS = {"mqtt": "hunter2-of-the-broker", "cam": "hunter2 of/the camera"}
TRACES = ("hunter2", "aHVudGVyMi", "of%2Fthe")
"""How they would show: as they are, in base64, in an address."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Daemon, Subscriber]]:
    for name, secret in SECRETS.items():
        (tmp_path / f"{name}.pass").write_text(secret + "\n")
    (tmp_path / "broker").mkdir()
    users = passwords(tmp_path / "broker", edge=SECRETS["mqtt"], viewer="x")
    (tmp_path / "certificates").mkdir()
    certificates = Certificates(tmp_path / "certificates")
    (certificate, key), (own, own_key) = certificates.issue("device"), certificates.issue("server")
    secure = free_port()
    broker = Broker(
        tmp_path / "broker",
        f"password_file {users}",
        "allow_anonymous false",
        f"listener {secure} 127.0.0.1",
        *tls_lines(own, own_key, f"cafile {certificates.ca}", "require_certificate true"),
    )
    with camera(stream) as server, broker, Subscriber(broker.port, "viewer", "x") as subscriber:
        url = f"{server.url}?user=viewer&pwd={{password}}"
        source = f"{{kind: http, url: '{url}', password_file: {tmp_path / 'cam.pass'}}}"
        tls = f"tls: {{ca_file: {certificates.ca}, cert_file: {certificate}, key_file: {key}}}"
        text = config(secure, source).replace(
            "mqtt: {", f"mqtt: {{username: edge, password_file: {tmp_path / 'mqtt.pass'}, {tls}, "
        )
        if os.geteuid() == 0:  # the daemon becomes the user of its state, to whose group root leaves the secrets
            (tmp_path / "state").mkdir()
            os.chown(tmp_path / "state", 61500, 61500)
            for secret in (key, *tmp_path.glob("*.pass")):
                os.chown(secret, 0, 61500)
                Path(secret).chmod(0o640)
        with Daemon(tmp_path, text, before=UNLIMITED) as started:
            started.wait_serving()
            subscriber.wait("edge-infer/box/faces/result", deadline=30.0)
            assert any("of%2Fthe" in path for path in server.asked), "the camera got it"
            yield started, subscriber


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into rooms that are not dumpable")
def test_no_secret_is_told_anywhere(daemon: tuple[Daemon, Subscriber], tmp_path: Path) -> None:
    running, subscriber = daemon
    key = (tmp_path / "certificates/device.key").read_text().splitlines()
    traces = (*TRACES, *(line[:24] for line in key[1:-1]))  # each line of the TLS key
    before = running.pids()
    assert set(before) == {"engine", "publisher", "reader cam"}
    seen = {"status": str(running.status()).encode()}
    for name, pid in {"supervisor": running.pid, **before}.items():
        seen[f"arguments of {name}"] = arguments(pid)
        seen[f"environment of {name}"] = Path(f"/proc/{pid}/environ").read_bytes()
        assert "Max core file size        0 " in Path(f"/proc/{pid}/limits").read_text() or name == "supervisor"
    assert b"http:" not in seen["arguments of reader cam"], "the address itself is nobody's business"
    for pid in before.values():  # what a crash leaves
        os.kill(pid, signal.SIGSEGV)
    eventually(lambda: not set(running.pids().values()) & set(before.values()), "new rooms", 30.0)
    running.wait_serving()
    assert running.command("check").returncode == 0
    (tmp_path / "cam.pass").write_text("hunter2 as somebody mistyped it\n")
    (tmp_path / "mqtt.pass").write_text("hunter2 as somebody mistyped it\n")
    eventually(lambda: "not authorised" in str(running.status()), "the broker's refusal", 30.0)
    seen["status of a refused one"] = str(running.status()).encode()
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".pass" and path.name != "passwords" and "certificates" not in path.parts:
            seen[str(path)] = path.read_bytes()
    for heard in subscriber.heard:
        seen[f"payload on {heard.topic}"] = heard.payload
    assert [name for name in seen if name.endswith("/log")]
    assert not [name for name in seen if "core" in Path(name).name and "config" not in name]
    told = [name for name, data in seen.items() if any(trace.encode() in data for trace in traces)]
    assert told == []


def test_only_the_process_that_reads_the_configuration_gets_the_variables_that_it_names(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    text = config(broker.port).replace("mqtt: {", "mqtt: {username: '${NAME_OF_BOX}', ")
    with Daemon(box, text, before=("env", "NAME_OF_BOX=hunter4", "OMP_WAIT_POLICY=PASSIVE")) as started:
        started.wait_serving()
        subscriber.wait(f"{P}/faces/result")
        environments = {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in started.pids().items()}
        assert environments.keys() >= {"engine", "publisher"}
        assert [name for name, found in environments.items() if b"NAME_OF_BOX" in found] == []
        assert all(b"OMP_WAIT_POLICY" in found for found in environments.values()), "others stay"
        started.config.write_text(text.replace("fps: 10", "fps: 5"))
        assert started.reload()["state"] == "applied", started.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into rooms that are not dumpable")
def test_only_the_reader_of_a_camera_knows_the_value_in_its_address(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with camera(stream) as server:
        text = config(broker.port, f"{{kind: http, url: '{server.url}/${{TOKEN}}/cam'}}")
        with Daemon(box, text, before=("env", "TOKEN=hunter9-of-the-camera")) as started:
            started.wait_serving()
            subscriber.wait(f"{P}/faces/result", deadline=30.0)
            assert any("hunter9-of-the-camera" in path for path in server.asked)
            started.config.write_text(text.replace("fps: 10", "fps: 5"))
            assert started.reload()["state"] == "applied", started.log.read_text()
            first = started.pids()["publisher"]
            os.kill(first, signal.SIGKILL)  # the next one gets the plan before this one, too
            eventually(lambda: started.pids().get("publisher", first) != first, "a new publisher", 30.0)
            started.wait_serving()
            know = {name for name, pid in started.pids().items() if b"hunter9-of-the-camera" in memory(pid)}
            assert know == {"reader cam"}


def memory(pid: int) -> bytes:
    """The memory that a process can write."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as data:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, access, *_ = line.split()
            start, end = (int(part, 16) for part in area.split("-"))
            if access.startswith("rw") and "[v" not in line:
                with suppress(OSError):
                    data.seek(start)
                    found.append(data.read(end - start))
    return b"".join(found)


def test_a_process_that_tries_models_gets_no_variable_that_the_configuration_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "mqtt: {username: '${NAME_OF_BOX}'}\nsources: {clip: {kind: video, file: '${HOME}/$${WRITTEN}.mp4'}}\n"
    )
    monkeypatch.setenv("NAME_OF_BOX", "hunter4")
    monkeypatch.setenv("WRITTEN", "stays")
    for _ in range(2):
        assert environment_for(path)["NAME_OF_BOX"] == "hunter4"
        with Probe() as probe:
            probe.begin()
            place = Path(f"/proc/{probe.pid}/environ")
            found = eventually(place.read_bytes, "its environment")  # empty until the kernel has set up the process
        assert b"NAME_OF_BOX" not in found
        assert b"HOME=" in found
        assert b"WRITTEN=stays" in found, "$${ names no variable"


def _many(folder: Path) -> None:
    """More files than a configuration may have."""
    (folder / "conf.d").mkdir()
    for number in range(257):
        (folder / "conf.d" / f"{number}.yaml").write_text("models: {}\n")


def _large(folder: Path) -> None:
    """A file that is too large."""
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + "#" * (5 << 20))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into rooms that are not dumpable")
@pytest.mark.parametrize("spoil", [_many, _large])
def test_no_process_gets_variables_that_a_configuration_names_which_is_too_large_to_read(
    box: Path, broker: Broker, spoil: Callable[[Path], None]
) -> None:
    before = ("env", "NAME_OF_BOX=hunter4", "FOR_A_CAMERA=1", "OMP_WAIT_POLICY=PASSIVE")
    with Daemon(box, config(broker.port), before=before) as started:
        started.wait_serving()
        assert all(b"FOR_A_CAMERA" in found for found in environments(started).values())
        started.signal(signal.SIGTERM)
        assert started.wait(20.0) == 0
        good = started.config.read_text()
        started.config.write_text(good.replace("mqtt: {", "mqtt: {username: '${NAME_OF_BOX}', "))
        spoil(box)
        started.start()
        started.wait_serving()
        found = environments(started)
        assert "is REJECTED" in started.log.read_text()
        assert [name for name, each in found.items() if b"NAME_OF_BOX" in each] == []
        assert all(b"OMP_WAIT_POLICY" in each and b"PATH=" in each for each in found.values())
        shutil.rmtree(box / "conf.d", ignore_errors=True)
        started.config.write_text(good)
        assert started.reload()["state"] == "applied", started.log.read_text()
        os.kill(started.pids()["publisher"], signal.SIGKILL)
        eventually(lambda: b"FOR_A_CAMERA" in environments(started).get("publisher", b""), "its variables", 30.0)


def environments(daemon: Daemon) -> dict[str, bytes]:
    """The environment of each process of a daemon."""
    found = {}
    for name, pid in daemon.pids().items():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found[name] = Path(f"/proc/{pid}/environ").read_bytes()
    return found


def test_a_variable_that_is_first_named_after_the_process_was_started_ahead_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    monkeypatch.setenv("NAME_OF_BOX", "hunter4")
    compilation = Compilation(path, state_dir=tmp_path / "state", ahead=True)
    assert "NAME_OF_BOX" in os.environ
    path.write_text(config(1883).replace("mqtt: {", "mqtt: {username: '${NAME_OF_BOX}', "))
    compilation.go()
    compilation.close()
    assert "NAME_OF_BOX" not in os.environ
