"""Word to systemd, heard by a real datagram socket."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.supervisor.systemd_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket like systemd's, and its name as ``$NOTIFY_SOCKET`` gives it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-infer-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name.replace("@", "\0"))
        ear.settimeout(5)
        yield ear, name


def test_every_word_arrives_in_order(systemd: tuple[socket.socket, str]) -> None:
    ear, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.status("starting")
    notifier.ready("2 pipelines")
    notifier.watchdog()
    notifier.stopping()
    heard = [ear.recv(4096).decode() for _ in range(4)]
    assert heard == ["STATUS=starting", "READY=1\nSTATUS=2 pipelines", "WATCHDOG=1", "STOPPING=1"]


def test_a_status_of_several_lines_stays_one_assignment(systemd: tuple[socket.socket, str]) -> None:
    ear, name = systemd
    Notifier({"NOTIFY_SOCKET": name}).status("camera lost\nREADY=1\n é")
    assert ear.recv(4096).decode() == "STATUS=camera lost READY=1 é"
    Notifier({"NOTIFY_SOCKET": name}).ready("broker: \x1b[2J\u202e")
    assert ear.recv(4096).decode() == "READY=1\nSTATUS=broker: \ufffd[2J\ufffd"


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready("on")
    notifier.watchdog()
    assert notifier.watchdog_interval() is None


def test_a_socket_that_is_gone_is_logged_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).watchdog()
    assert "systemd notification 'WATCHDOG=1' failed" in caplog.text


def test_a_full_socket_never_blocks(systemd: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture) -> None:
    _, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    while not caplog.records:  # nobody reads: at some point the kernel keeps no more
        notifier.watchdog()
    assert "systemd notification 'WATCHDOG=1' failed" in caplog.text


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_wants_a_sign_twice_as_often_as_it_bites(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/systemd/notify", **environ}).watchdog_interval() == seconds
