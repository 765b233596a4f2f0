"""The daemon measures at each start whether the runtime's fast path works, and tells it."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.models.trials.fast_path import CHILD, SHIPPED
from edge_infer.supervisor.rollout.fast_path import FastPath
from tests.broker import Broker, Subscriber, eventually
from tests.running import MODEL, Daemon, alive, config

INFO = "edge-infer/box/info"
NO_PROCESSOR = "mount --bind unreadable /proc/cpuinfo"
OWN_PROCESSES = "mount -t proc -o subset=pid proc /proc"


@pytest.fixture
def daemon(box: Path, broker: Broker) -> Iterator[Daemon]:
    with Daemon(box, config(broker.port)) as running:
        yield running


def child(daemon: Daemon) -> int | None:
    """The process that measures, once it is behind its walls."""
    for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
        try:
            if CHILD in Path(f"/proc/{pid}/cmdline").read_text() and "Seccomp:\t2" in _status(int(pid)):
                return int(pid)
        except OSError:  # it has just ended
            continue
    return None


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_info_and_status_tell_the_gain_once_everything_runs(daemon: Daemon, subscriber: Subscriber) -> None:
    first = subscriber.wait(INFO)
    assert "fast_path" not in first.value
    assert "bytes_per_second" in first.value["channel"]
    subscriber.wait("edge-infer/box/faces/result")
    pid = eventually(lambda: child(daemon), "process that measures", 60)
    assert nice(pid) == 19
    assert not subscriber.on(INFO)[-1].value.get("fast_path")  # results came before
    gain = subscriber.wait(INFO, lambda heard: "fast_path" in heard.value, 120).value["fast_path"]
    assert gain > 1.2
    assert daemon.status()["fast_path"] == gain
    assert f"fast path a model runs {gain:g} times as fast with it" in daemon.command("status").stdout
    assert "fast path does not work" not in daemon.log.read_text()
    assert not alive(pid)


def under(mount: str) -> tuple[str, ...]:
    """A command that becomes another one, which has something else mounted."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root, where namespaces are allowed, can mount a part of /proc")
    return ("unshare", "--mount", "sh", "-c", f'{mount} && exec "$0" "$@"')


def test_a_fast_path_that_is_off_is_told_with_what_helps(box: Path, broker: Broker, subscriber: Subscriber) -> None:
    with socket.socket(socket.AF_UNIX) as file:
        file.bind(str(box / "unreadable"))  # nobody can open it, root neither
    with Daemon(box, config(broker.port).replace("fps: 10", "fps: 1"), before=under(NO_PROCESSOR)) as daemon:
        gain = subscriber.wait(INFO, lambda heard: "fast_path" in heard.value, 180).value["fast_path"]
        assert gain < 1.2
        warning = next(line for line in daemon.log.read_text().splitlines() if "fast path does not work" in line)
        assert "WARNING" in warning
        assert "ProcSubset=pid" in warning
        assert f"fast path OFF   a model runs {gain:g} times" in daemon.command("status").stdout


def test_with_the_processes_of_proc_alone_it_says_why_it_does_not_start(box: Path, broker: Broker) -> None:
    with Daemon(box, config(broker.port), before=under(OWN_PROCESSES)) as daemon:
        assert daemon.wait(120) == 3
        last = daemon.log.read_text().splitlines()[-1]
    assert "boot_id cannot be read" in last
    assert "remove ProcSubset=pid" in last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_measures_ends_with_the_daemon(daemon: Daemon, number: signal.Signals) -> None:
    pid = eventually(lambda: child(daemon), "process that measures", 60)
    os.kill(pid, signal.SIGSTOP)
    rooms = daemon.pids()
    daemon.signal(number)
    daemon.wait(20)
    eventually(lambda: not any(map(alive, (pid, *rooms.values()))), "end of all")


def test_a_damaged_model_is_told_and_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tmp_path / "models" / SHIPPED
    model.parent.mkdir(parents=True)
    model.write_bytes(MODEL.read_bytes()[:1000])
    measured = FastPath(calm=0.0)
    with caplog.at_level(logging.INFO):
        measured.look(tmp_path, calm=True)
        while files := measured.files():
            assert select.select(files, [], [], 60)[0]
            measured.look(tmp_path, calm=True)
        measured.look(tmp_path, calm=True)
    assert measured.gain is None
    assert not measured.files()  # once a start
    (told,) = caplog.records
    assert "fast path not measured: the process that runs the model" in told.getMessage()


def test_it_waits_until_nothing_is_read_or_loaded(tmp_path: Path) -> None:
    measured = FastPath(calm=0.0)
    measured.look(tmp_path, calm=False)
    assert not measured.files()
    measured.look(tmp_path, calm=True)
    assert measured.files()
    measured.close()
    measured.close()
    assert not measured.files()
