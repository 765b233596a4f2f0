"""The publisher's folder is put aside when its content ends every publisher, and for no other reason."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edge_infer.platform.folder_tidy import MAX_STEPS
from edge_infer.supervisor.processes import publisher_folder
from edge_infer.supervisor.processes.publisher_folder import MAX_FAILURES, PublisherFolder
from edge_infer.supervisor.statedir import ASIDE, MAX_ASIDE, folders_aside, tidy_publisher
from tests.attacker import attacking
from tests.broker import Broker, eventually
from tests.running import Daemon, config

POISON = "discovery.new"
"""A file that the publisher does not read; the code in it does."""
ENDS = {
    "exit code 1": "os._exit(1)",
    "SIGABRT": "os.abort()",
    "invalid records": "time.sleep(2); os.write(option('--control'), b'\\0{')",
    "busy": "time.sleep(2); import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
}
HARMLESS = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGTERM": "os.kill(os.getpid(), 15)",
    "OSError": "os._exit(os.EX_IOERR)",
    "stuck": "time.sleep(2); import ctypes; ctypes.PyDLL(None).sleep(60)",
}


def ending(box: Path, how: str, *, always: bool = False) -> Any:
    """The environment of a daemon whose publisher ends in this way if a file in its folder says so."""
    poison = str(box / "state" / "publisher" / POISON)
    code = f"import os, time\nif {always} or os.path.exists({poison!r}): {how}\n"
    return attacking(box, {"edge_infer.publisher": code})


def account(daemon: Daemon) -> dict[str, Any]:
    """What it says of its messages; empty while it does not know."""
    return daemon.status().get("outbox") or {}


def poisoned(daemon: Daemon) -> None:
    """Leaves the file, as a compromised publisher could, and ends that publisher."""
    poison = daemon.folder / "state" / "publisher" / POISON
    poison.write_text("boo")
    os.chown(poison, poison.parent.stat().st_uid, poison.parent.stat().st_gid)
    os.kill(daemon.pids()["publisher"], signal.SIGKILL)


@pytest.mark.parametrize("how", ENDS)
def test_a_folder_that_ends_every_publisher_is_put_aside(box: Path, broker: Broker, how: str) -> None:
    with ending(box, ENDS[how]), Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
        broker.stop()
        eventually(lambda: account(daemon).get("pending", 0) > 30, "messages that wait", 60)
        time.sleep(2.0)  # until they are on the disk
        poisoned(daemon)
        aside = box / "state" / f"{ASIDE}1"
        eventually((aside / POISON).exists, f"folder put aside; the log: {daemon.log}", 90)
        broker.start()
        daemon.wait_serving()
        assert (aside / "outbox.sqlite").exists()
        assert not (box / "state" / "publisher" / POISON).exists()
        log = daemon.log.read_text(errors="replace")
        assert f"failed {MAX_FAILURES} times in a row: the supervisor moved its folder to {aside}" in log
        lost = eventually(lambda: account(daemon).get("lost", {}).get("unknown"), "lost messages", 30)
        assert lost > 30
        told = account(daemon)
        assert told["produced"] == told["delivered"] + told["pending"] + sum(told["lost"].values())
        assert len(folders_aside(box / "state")) == 1


@pytest.mark.parametrize("how", HARMLESS)
def test_what_is_no_fault_of_the_folder_leaves_it(box: Path, broker: Broker, how: str) -> None:
    with ending(box, HARMLESS[how]), Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
        poisoned(daemon)

        def ended() -> bool:
            return daemon.log.read_text(errors="replace").count("publisher started") > MAX_FAILURES + 2

        eventually(ended, f"ends of publishers; the log: {daemon.log}", 90)
        (box / "state" / "publisher" / POISON).unlink()
        daemon.wait_serving()
        assert not folders_aside(box / "state")
        assert "moved its folder" not in daemon.log.read_text(errors="replace")


def test_where_an_empty_folder_does_not_help_the_old_one_comes_back(box: Path, broker: Broker) -> None:
    with Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
    before = (box / "state" / "publisher" / "outbox.sqlite").stat().st_ino
    with ending(box, "os._exit(1)", always=True), Daemon(box, config(broker.port)) as daemon:

        def back() -> bool:
            return "with an empty folder as well" in daemon.log.read_text(errors="replace")

        eventually(back, f"end of the trial; the log: {daemon.log}", 90)
        started = daemon.log.read_text(errors="replace").count("publisher started")
        eventually(
            lambda: daemon.log.read_text(errors="replace").count("publisher started") > started + MAX_FAILURES,
            "more failures",
            90,
        )
        assert (box / "state" / "publisher" / "outbox.sqlite").stat().st_ino == before
        assert len(folders_aside(box / "state")) == 1


# The rule by itself.


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "publisher").mkdir()
    (tmp_path / "publisher" / "topics.json").write_text("old")
    return tmp_path


def fail(folder: PublisherFolder, state: Path, times: int = MAX_FAILURES) -> str:
    return "".join(folder.failed(str(state)) for _ in range(times))


def test_a_healthy_publisher_forgives_earlier_failures(state: Path) -> None:
    folder = PublisherFolder()
    for _ in range(3):
        assert not fail(folder, state, MAX_FAILURES - 1)
        folder.healthy()
    assert not folders_aside(state)
    assert "an unknown number of queued messages" in fail(folder, state)
    assert [path.read_text() for path in state.glob("*/topics.json")] == ["old"]
    assert not list((state / "publisher").iterdir())
    folder.healthy()
    folder.waiting = 7
    assert "put-aside-2, with 7 queued messages" in fail(folder, state)


def test_a_trial_that_does_not_help_is_repeated_after_ever_longer_pauses(state: Path) -> None:
    now = [0.0]
    folder = PublisherFolder(lambda: now[0])
    assert folder.failed(str(state)) == ""
    for pause in (600.0, 1200.0, 2400.0, 3600.0, 3600.0):
        assert "made an empty one" in fail(folder, state)
        assert "; newer messages are in" in fail(folder, state)
        assert (state / "publisher" / "topics.json").read_text() == "old"
        now[0] += pause - 1.0
        assert not fail(folder, state, 10 * MAX_FAILURES)
        while tidy_publisher(state):
            pass
        now[0] += 1.0
    assert "made an empty one" in fail(folder, state)
    folder.healthy()
    assert "made an empty one" in fail(folder, state)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_publisher_that_fills_the_disk_does_not_keep_its_folder(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "tmpfs", tmp_path], check=True)
    try:
        (tmp_path / "publisher").mkdir()
        for name in ("topics.json", "outbox.sqlite.corrupt"):
            (tmp_path / "publisher" / name).touch()
        assert "made an empty one" in fail(PublisherFolder(), tmp_path)
        assert [path.name for path in tmp_path.glob("*/*")] == ["topics.json"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_on_a_full_disk_the_folder_stays(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "tmpfs", tmp_path], check=True)
    try:
        (tmp_path / "publisher").mkdir()
        (tmp_path / "publisher" / "topics.json").write_text("old")
        (tmp_path / "filler").touch()
        text = fail(PublisherFolder(), tmp_path)
        assert "the supervisor cannot replace " in text
        assert text.endswith(": No space left on device")
        assert (tmp_path / "publisher" / "topics.json").read_text() == "old"
        assert not folders_aside(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_bounded_number_of_folders_stays(state: Path) -> None:
    for number in (1, 2, 9, 10):
        (state / f"{ASIDE}{number}" / "x" / "y").mkdir(parents=True)
        (state / f"{ASIDE}{number}" / "topics.json").touch(0o600)
    for number in range(MAX_STEPS + 10):
        (state / f"{ASIDE}1" / str(number)).touch()
    for name in ("x", "0", "01", "1" * 99):  # of somebody else
        (state / f"{ASIDE}{name}").mkdir()
    while tidy_publisher(state):
        pass
    assert [path.name for path in folders_aside(state)] == [f"{ASIDE}9", f"{ASIDE}10"]
    assert len(folders_aside(state)) == MAX_ASIDE
    assert [path.name for path in (state / f"{ASIDE}9").iterdir()] == ["topics.json"]
    assert publisher_folder._exchange(state / "publisher", None).name == f"{ASIDE}11"


# The size of its files.

WRITE = """
import os
try:
    with open({place!r}, "wb") as file:
        file.seek({size})
        file.write(b"x")
    print("WROTE all", flush=True)
except OSError as error:
    print("WROTE", error.strerror, flush=True)
"""


def test_no_file_of_the_publisher_outgrows_the_limit(box: Path, broker: Broker) -> None:
    size = (1 << 20) + (64 << 20)
    code = WRITE.format(place=str(box / "state" / "publisher" / "outbox.sqlite.corrupt"), size=size)
    small = config(broker.port) + "outbox: {max_size: 1M}\n"
    with attacking(box, {"edge_infer.publisher": code}), Daemon(box, small) as daemon:
        daemon.wait_serving()
        assert "WROTE File too large" in daemon.log.read_text(errors="replace")
        daemon.config.write_text(small.replace("1M", "2M"))
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: "WROTE all" in daemon.log.read_text(errors="replace"), "a publisher with more room", 30)
        daemon.wait_serving()
        kept = box / "state" / "publisher" / "outbox.sqlite.corrupt"
        eventually(lambda: kept.stat().st_size <= 1 << 19, "a file that is cut", 30)
