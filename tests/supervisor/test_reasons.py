"""Reasons where people look: what is wrong is told until it is over, and what was put right is noticed."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.supervisor.reload.watch import LACKING_EVERY, LackingFiles
from tests.broker import Broker, eventually
from tests.running import Daemon, config

LONG = 60.0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """The end of systemd's notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        path = tmp_path_factory.mktemp("notify") / "s"
        path.parent.parent.chmod(0o755)
        found.bind(str(path))
        path.parent.chmod(0o777)
        path.chmod(0o777)
        found.setblocking(False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NOTIFY_SOCKET", str(path))
            yield found


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, told: socket.socket) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("reasons")
    with Broker(folder) as broker, Daemon(folder, config(broker.port)) as found:
        found.wait_serving(LONG)
        yield found


def rejected(daemon: Daemon) -> str:
    """The first error of a rejected configuration, else nothing."""
    found = daemon.status().get("config") or {}
    return str(found["errors"][0]) if found.get("state") == "rejected" else ""


def lines(told: socket.socket) -> list[str]:
    """What systemd was told since the last call."""
    found = []
    while True:
        try:
            found.append(told.recv(65536).decode())
        except BlockingIOError:
            return found


def test_a_rejection_is_in_systemctl_status_at_once_and_is_over_with_the_next_configuration(
    daemon: Daemon, told: socket.socket
) -> None:
    good = daemon.config.read_text()
    lines(told)
    daemon.config.write_text(good.replace("fps: 10", "fsp: 10"))
    answer = daemon.reload()
    assert answer["state"] == "rejected"
    eventually(lambda: any(answer["errors"][0] in line for line in lines(told)), "the reason in systemd's status", 3.0)
    assert daemon.status()["last_error"]["text"] == answer["errors"][0]
    daemon.config.write_text(good)
    assert daemon.reload()["state"] == "applied"
    assert daemon.status()["last_error"] is None


def test_a_permission_that_is_put_right_is_noticed(daemon: Daemon) -> None:
    """Nobody has to ask for a reload after a chmod, nor after the file is there that was not."""
    good = daemon.config.read_text()
    secret = daemon.folder / "secret"
    yard = "sources:\n  yard: {kind: rtsp, url: 'rtsp://127.0.0.1:9/', password_file: secret}\n"
    text = good.replace("sources:\n", yard).replace(
        "pipelines:\n", "pipelines:\n  more: {source: yard, model: faces}\n"
    )
    daemon.config.write_text(text)
    eventually(lambda: "this file does not exist" in rejected(daemon), "the missing file", LONG)
    if os.geteuid() == 0:
        secret.touch(0o600)
        secret.write_text("word\n")
        eventually(lambda: "cannot be read by user" in rejected(daemon), "the closed file", LONG)
        assert "chgrp" in rejected(daemon)
        secret.chmod(0o644)
    else:
        secret.write_text("word\n")
    eventually(lambda: not rejected(daemon), "the mended permission", LONG)
    assert "yard" in daemon.status()["feeds"].values()
    daemon.config.write_text(good)
    eventually(lambda: "yard" not in daemon.status()["feeds"].values(), "the configuration of before", LONG)


def test_a_configuration_that_cannot_be_read_is_told_and_keeps_the_digest_of_what_was_read(daemon: Daemon) -> None:
    before = daemon.status()["config"]["digest"]
    text = daemon.config.read_text()
    daemon.config.unlink()
    eventually(lambda: "the file does not exist any more" in rejected(daemon), "the missing file", LONG)
    assert daemon.status()["config"]["digest"] == before
    daemon.config.write_text("")
    eventually(lambda: "the file is empty" in rejected(daemon), "the empty file", LONG)
    assert daemon.status()["config"]["digest"] == hashlib.sha256(b"").hexdigest()
    daemon.config.write_text(text)
    eventually(lambda: daemon.status()["config"]["state"] == "applied", "its return", LONG)
    if os.geteuid() == 0:
        daemon.config.chmod(0o600)
        eventually(lambda: "cannot be read by user" in rejected(daemon), "the closed file", LONG)
        assert daemon.status()["config"]["digest"] == before
        daemon.config.chmod(0o644)
        eventually(lambda: daemon.status()["config"]["state"] == "applied", "the open file", LONG)


def test_the_log_level_changes_for_a_time_in_all_processes(daemon: Daemon) -> None:
    done = daemon.command("log")
    assert done.stdout == "debug\n", done.stderr
    assert daemon.command("log", "--level", "error").stdout == "error\n"
    engine = daemon.pids()["engine"]
    os.kill(engine, 9)
    eventually(lambda: daemon.pids().get("engine", engine) != engine, "the next engine", LONG)
    daemon.wait_serving(LONG)
    words = Path(f"/proc/{daemon.pids()['engine']}/cmdline").read_text().split("\0")
    assert words[words.index("--log-level") + 1] == "error"
    assert daemon.command("log", "--level", "warning", "--for", "2s").stdout.startswith("warning for ")
    eventually(lambda: daemon.command("log").stdout == "debug\n", "the usual level", LONG)
    assert "the log level is debug again" in daemon.log.read_text()
    assert daemon.command("log", "--for", "2s").returncode == 2


def test_a_file_that_was_lacking_is_read_once_it_stands_still(tmp_path: Path) -> None:
    now = [0.0]
    path, lacking = tmp_path / "secret", LackingFiles(lambda: now[0])

    def mended() -> bool:
        now[0] += LACKING_EVERY
        return lacking.mended()

    assert not mended()
    lacking.expect([str(path)])
    assert not mended()
    path.write_text("wor")
    assert not mended()
    path.write_text("word, and longer")
    assert not mended()
    assert mended()
    assert not mended(), "once"
    lacking.expect([str(path)])
    path.chmod(0o600)
    assert not mended()
    assert mended()
    lacking.expect([str(path)])
    lacking.expect(())
    path.unlink()
    assert [mended(), mended()] == [False, False]


def test_after_a_restart_a_missing_file_has_the_digest_of_the_one_applied_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))  # as in the unit
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as found:
        found.wait_serving(LONG)
        before = found.status()["config"]["digest"]
        found.signal(signal.SIGTERM)
        found.wait(LONG)
        found.config.unlink()
        found.start()
        found.wait_serving(LONG)
        assert "cannot be read: No such file" in rejected(found)
        assert found.status()["config"]["digest"] == before
