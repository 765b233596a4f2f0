"""A state directory that cannot be written any more: told, survived, and made up for once it can be."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_infer.models.serving_record import mark_unproven, read_record
from edge_infer.supervisor.control.server import ask
from tests.broker import eventually
from tests.moody import write_model
from tests.running import Daemon
from tests.supervisor.test_tidying import blobs
from tests.swapping import P, Swapping, short, swapping

LONG = 60.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_model(tmp_path / "old.tflite")


@pytest.fixture
def running(tmp_path: Path, old: Path) -> Iterator[Swapping]:
    with swapping(tmp_path / "box", old, fps=2) as found:
        yield found


@contextmanager
def read_only(running: Swapping) -> Iterator[Path]:
    """Its state directory, mounted over itself without the right to write: what is open stays so."""
    state = running.daemon.folder / "state"
    subprocess.run(["mount", "--bind", state, state], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
    try:
        yield state
    finally:
        subprocess.run(["mount", "-o", "remount,bind,rw", state], check=True)
        subprocess.run(["umount", "-l", state], check=True)  # what was started meanwhile has files open there


@pytest.mark.parametrize("cut", [False, True], ids=["orderly", "power cut"])
def test_it_starts_and_uses_the_disk_again_once_it_is_writable(running: Swapping, old: Path, *, cut: bool) -> None:
    """After a power cut it reads the file before it starts, and copies models that are there already."""
    state, sockets = running.daemon.folder / "state", running.daemon.folder / "sockets"
    sockets.mkdir()
    owner = (state / "lock").stat()
    os.chown(sockets, owner.st_uid, owner.st_gid)
    running.daemon.__exit__()
    if cut:
        mark_unproven(state)
    daemon = Daemon(
        running.daemon.folder, running.daemon.config.read_text(), before=("env", f"RUNTIME_DIRECTORY={sockets}")
    )

    def degraded() -> Any:
        return (ask(sockets / "control.sock", {"do": "status"})["outbox"] or {}).get("degraded")

    moment = time.monotonic()
    with ExitStack() as stack:
        with read_only(running):
            stack.enter_context(daemon)
            running.result(short(old), moment, LONG)
            eventually(degraded, "an outbox in memory", LONG)
            assert f"{state} is on a read-only disk" in daemon.log.read_text()
        eventually(lambda: degraded() is False, "an outbox on the disk", LONG)
        running.result(short(old), time.monotonic(), LONG)


def test_it_becomes_read_only_in_the_middle_of_a_swap_and_writable_again(
    running: Swapping, old: Path, tmp_path: Path
) -> None:
    state = running.daemon.folder / "state"
    new = write_model(tmp_path / "new.tflite", gain=0.9)
    running.result(short(new), running.edit(new), LONG)
    with read_only(running):  # while the new one is on probation
        os.kill(running.daemon.pids()["engine"], signal.SIGKILL)
        said = running.model(state="rolled_back", sha=short(old), deadline=LONG)
        assert "on probation" in said["reason"]
        moment = time.monotonic()
        running.result(short(old), moment, LONG)
        assert "Read-only file system" in running.daemon.log.read_text()
        assert short(new) in {trial.sha[:8] for trial in read_record(state).trials.values()}, "as it was before"
    eventually(lambda: read_record(state).refused.get("light"), "the record of what happened", LONG)
    assert read_record(state).trials == {}


def test_a_swap_that_it_stands_against_is_made_up_for(running: Swapping, old: Path, tmp_path: Path) -> None:
    new = write_model(tmp_path / "new.tflite", gain=0.9)
    rooms = running.daemon.pids()
    with read_only(running):
        running.edit(new)
        heard = running.subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "rejected", LONG)
        assert "Read-only file system" in heard.value["errors"][0]
        running.result(short(old), time.monotonic(), LONG)
        assert blobs(running.daemon.folder) == {short(old)}
    running.result(short(new), heard.at, LONG)  # nobody has asked for it again
    assert running.daemon.status()["config"]["state"] == "applied"
    assert running.daemon.pids() == rooms
