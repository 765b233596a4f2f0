"""What the examination says of an outbox that the daemon cannot store."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.cli.status import _lines
from edge_infer.contract.codec import replace
from edge_infer.doctor.machine import storage
from edge_infer.doctor.outbox import outbox
from edge_infer.supervisor.status import Status
from tests.broker import Broker, eventually
from tests.cli.test_top import STATUS
from tests.running import Daemon, config

OTHER = 61777
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that others can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "publisher").mkdir(mode=0o700)
        yield Path(name)


def reported(state: Path, *, degraded: bool = True) -> Status:
    """The status of a daemon with this state directory."""
    assert STATUS.outbox is not None
    return replace(STATUS, outbox=replace(STATUS.outbox, degraded=degraded), state_dir=str(state))


def told(state: Path) -> list[str]:
    return [str(each) for each in outbox(Path("/none"), reported(state))]


def run(command: str) -> None:
    """Follow the remedy of a line."""
    subprocess.run(["sh", "-c", command.partition("sudo ")[2]], check=True)


def test_a_sound_folder_is_told_only_if_the_daemon_cannot_write(state: Path) -> None:
    assert not list(outbox(state, None))
    assert not list(outbox(state / "none", None))
    assert not list(outbox(state, reported(state, degraded=False)))
    (line,) = told(state)
    assert line.startswith(f"warn  outbox: {state}/publisher: the daemon cannot write there, so messages wait in ")
    assert line.endswith("; free space if its disk is full; otherwise the daemon's log shows why")


@pytest.mark.parametrize("runs", [False, True])
def test_a_folder_that_is_closed(state: Path, *, runs: bool) -> None:
    (state / "publisher").chmod(0)
    (found,) = outbox(state, reported(state) if runs else None)
    assert found.level == "warn"
    assert found.fact.startswith(f"{state}/publisher: its owner may not use it (mode 000), ")
    assert found.remedy == f"run: sudo chmod 700 {state}/publisher"
    run(found.remedy)
    assert not list(outbox(state, None))


@pytest.mark.parametrize("link", [False, True])
def test_something_in_the_place_of_the_folder(state: Path, *, link: bool) -> None:
    (state / "publisher").rmdir()
    if link:
        (state / "publisher").symlink_to("nowhere")
    else:
        (state / "publisher").touch()
    (found,) = outbox(state, None)
    assert (found.level, found.remedy) == ("fail", f"remove it: sudo rm {state}/publisher")
    run(found.remedy)
    assert not list(outbox(state, None))
    assert told(state) == [
        f"warn  outbox: {state}/publisher: it does not exist, so messages wait in memory only; restart the daemon"
    ]


@root_only
@pytest.mark.parametrize("name", ["publisher", "publisher/outbox.sqlite"])
def test_a_part_of_another_user(state: Path, name: str) -> None:
    (state / "publisher" / "outbox.sqlite").touch()
    for path in (state, state / "publisher", state / "publisher" / "outbox.sqlite"):
        os.chown(path, 61503, 61503)
    os.chown(state / name, 0, 0)
    (line,) = told(state)
    assert line.startswith(f"warn  outbox: {state / name}: it belongs to another user than {state}, so ")
    run(line)
    (line,) = told(state)
    assert "the daemon cannot write there" in line


@root_only
def test_a_state_of_another_user_behind_a_link(state: Path, tmp_path: Path) -> None:
    """systemd makes the state directory of the service a link. What is not of the publisher is no reason."""
    (state / "applied.json").touch(0o600)
    (tmp_path / "link").symlink_to(state)
    os.chown(state, 61503, 61503)
    (line,) = told(tmp_path / "link")
    assert line.startswith(f"warn  outbox: {state}/publisher: it belongs to another user")
    run(line)
    assert (state / "publisher").stat().st_uid == 61503
    (line,) = told(tmp_path / "link")
    assert "the daemon cannot write there" in line


@root_only
def test_a_full_disk_of_its_own_is_the_reason_and_not_its_lost_found(state: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=750,uid=61503", "tmpfs", state], check=True)
    try:
        for name, owner in (("publisher", 61503), ("lost+found", 0), ("lost+found/#12", 0)):
            (state / name).mkdir(mode=0o700)
            os.chown(state / name, owner, owner)
        (line,) = told(state)
        assert line.startswith(f"warn  outbox: {state}/publisher: the daemon cannot write there, ")
        assert "; free space if its disk is full; " in line
        full = f"warn  state: {state}, 0 MiB free; free space on the disk"
        assert [str(each) for each in storage(state)] == [full]
        (state / "applied.json").touch(0o600)
        first, second = (str(each) for each in storage(state))
        assert first == full
        assert second.startswith(f"warn  state: {state}/applied.json belongs to another user")
    finally:
        subprocess.run(["umount", state], check=True)


@root_only
def test_a_user_who_may_not_look_is_told_to_be_root(state: Path) -> None:
    (state / "publisher").chmod(0)
    state.chmod(0o700)
    os.seteuid(OTHER)
    try:
        (line,) = told(state)
        assert line.endswith("; to see why, run: sudo edge-infer doctor")
        assert not list(outbox(state, None))
    finally:
        os.seteuid(0)


def test_status_names_the_folder_and_doctor() -> None:
    """An earlier daemon does not name its state directory."""
    for status, where in ((reported(Path("/s")), " (/s/publisher)"), (replace(STATUS, state_dir=None), "")):
        (line,) = (line for line in _lines(status) if line.startswith("outbox "))
        assert line.endswith(f", DEGRADED: cannot write to disk{where}; edge-infer doctor shows the remedy")


@root_only
def test_the_remedy_helps_a_daemon_that_runs(tmp_path: Path, broker: Broker) -> None:
    folder = tmp_path / "state" / "publisher"
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
    folder.chmod(0)
    with daemon:
        daemon.wait_serving()
        eventually(lambda: (daemon.status()["outbox"] or {}).get("degraded"), "an outbox in memory", 60.0)
        assert f"DEGRADED: cannot write to disk ({folder}); edge-infer doctor" in daemon.command("status").stdout
        lines = daemon.command("doctor", timeout=180).stdout.splitlines()
        (line,) = (line for line in lines if " outbox: " in line)
        assert line.startswith(f"warn  outbox: {folder}: its owner may not use it (mode 000)")
        run(line)
        eventually(lambda: not daemon.status()["outbox"]["degraded"], "an outbox on the disk", 60.0)
