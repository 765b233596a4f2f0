"""The publisher's folder is put aside when its content ends every publisher, and for no other reason."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge_infer.platform.folder_tidy import MAX_STEPS
from edge_infer.supervisor.processes import publisher_folder
from edge_infer.supervisor.processes.publisher_folder import MAX_FAILURES, PublisherFolder, remedy
from edge_infer.supervisor.statedir import (
    ASIDE,
    MAX_ASIDE,
    ON_TRIAL,
    all_aside,
    folders_aside,
    make_folders,
    tidy_publisher,
)
from tests.attacker import attacking
from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config, hidepid

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
        trial, aside = box / "state" / ON_TRIAL, box / "state" / f"{ASIDE}1"
        eventually((trial / POISON).exists, f"folder put aside; the log: {daemon.log}", 90)
        broker.start()
        daemon.wait_serving()
        assert (trial / "outbox.sqlite").exists()
        assert daemon.status()["put_aside"] == [str(trial)]
        assert not (box / "state" / "publisher" / POISON).exists()
        log = daemon.log.read_text(errors="replace")
        assert f"failed {MAX_FAILURES} times in a row, so the supervisor moved its folder" in log
        lost = eventually(lambda: account(daemon).get("lost", {}).get("unknown"), "lost messages", 30)
        assert lost > 30
        told = account(daemon)
        assert told["produced"] == told["delivered"] + told["pending"] + sum(told["lost"].values())
        eventually(aside.exists, f"end of the trial; the log: {daemon.log}", 90)
        assert f"queued messages, as {aside}; to send its messages" in daemon.status()["last_error"]["text"]
        daemon.__exit__()
        daemon.start()
        daemon.wait_serving()
        assert all_aside(box / "state") == [aside]
        assert f"\naside     {aside} may hold messages; to send its messages" in daemon.command("status").stdout
        assert f"warn  outbox: {aside} was put aside" in daemon.command("doctor", timeout=180).stdout


def test_a_publisher_that_computes_and_that_proc_hides_counts_too(box: Path, broker: Broker) -> None:
    with ending(box, ENDS["busy"]), Daemon(box, config(broker.port), before=hidepid(2)) as daemon:
        daemon.wait_serving()
        poisoned(daemon)
        eventually((box / "state" / ON_TRIAL / POISON).exists, f"folder put aside; the log: {daemon.log}", 90)


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
        assert not all_aside(box / "state")
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
        assert not all_aside(box / "state")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_the_end_of_the_daemon_ends_a_trial(box: Path, broker: Broker, end: signal.Signals) -> None:
    """As at an upgrade to a version whose publisher does not work: the version of before delivers what waited."""
    with Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
        boot = daemon.status()["boot"]
        broker.stop()
        eventually(lambda: account(daemon).get("pending", 0) > 30, "messages that wait", 60)
    before = (box / "state" / "publisher" / "outbox.sqlite").stat().st_ino
    with ending(box, "os._exit(1)", always=True):
        daemon.start()
        eventually((box / "state" / ON_TRIAL).exists, f"trial; the log: {daemon.log}", 90)
        daemon.signal(end)
        daemon.wait(20)
    assert (box / "state" / ON_TRIAL).exists() == (end == signal.SIGKILL)
    broker.start()
    with Subscriber(broker.port) as subscriber, daemon:
        daemon.wait_serving()
        assert (box / "state" / "publisher" / "outbox.sqlite").stat().st_ino == before

        def waited() -> int:
            return sum(each.value["boot"] == boot for each in subscriber.on("edge-infer/box/faces/result"))

        eventually(lambda: waited() > 30, "messages that waited", 30)
        assert account(daemon)["delivered"] > 30
        assert "the daemon ended while the publisher tried an empty folder" in daemon.log.read_text(errors="replace")


# The rule by itself.


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "publisher").mkdir()
    (tmp_path / "publisher" / "topics.json").write_text("old")
    return tmp_path


def fail(folder: PublisherFolder, state: Path, times: int = MAX_FAILURES) -> str:
    return "".join(folder.failed(str(state)) for _ in range(times))


def content_of(folder: Path) -> str:
    """The one file of the fixture, or of a later publisher."""
    return (folder / "topics.json").read_text()


def test_a_healthy_publisher_forgives_earlier_failures(state: Path) -> None:
    folder = PublisherFolder()
    for _ in range(3):
        assert not fail(folder, state, MAX_FAILURES - 1)
        assert not folder.healthy()
    assert not all_aside(state)
    assert "an unknown number of queued messages" in fail(folder, state)
    assert content_of(state / ON_TRIAL) == "old"
    assert not list((state / "publisher").iterdir())
    told = folder.healthy()
    assert f"keeps the old one, with an unknown number of queued messages, as {state / ASIDE}1; to send" in told
    assert content_of(state / f"{ASIDE}1") == "old"
    folder.waiting = 7
    assert f"moved its folder, with 7 queued messages, to {state / ON_TRIAL}" in fail(folder, state)
    assert f"with 7 queued messages, as {state / ASIDE}2" in folder.healthy()
    assert not folder.healthy()


def test_a_trial_that_does_not_help_is_repeated_after_ever_longer_pauses(state: Path) -> None:
    now = [0.0]
    folder = PublisherFolder(lambda: now[0])
    assert folder.failed(str(state)) == ""
    for pause in (600.0, 1200.0, 2400.0, 3600.0, 3600.0):
        assert "so the supervisor moved its folder" in fail(folder, state)
        (state / "publisher" / "topics.json").write_text("new")
        assert f"; newer messages are in {state / ASIDE}" in fail(folder, state)
        assert content_of(state / "publisher") == "old"
        now[0] += pause - 1.0
        assert not fail(folder, state, 10 * MAX_FAILURES)
        while tidy_publisher(state):
            pass
        now[0] += 1.0
    assert "so the supervisor moved its folder" in fail(folder, state)
    folder.healthy()
    assert "so the supervisor moved its folder" in fail(folder, state)


def test_a_trial_that_does_not_help_leaves_no_empty_folder(state: Path) -> None:
    folder = PublisherFolder()
    fail(folder, state)
    assert fail(folder, state).endswith(f"moved {state / ON_TRIAL} back to {state / 'publisher'}")
    assert content_of(state / "publisher") == "old"
    assert not all_aside(state)


@pytest.mark.parametrize("newer", [False, True], ids=["empty", "newer messages"])
def test_the_next_daemon_ends_the_trial_and_may_begin_another(state: Path, *, newer: bool) -> None:
    assert "so the supervisor moved its folder" in fail(PublisherFolder(), state)
    assert all_aside(state) == [state / ON_TRIAL]
    if newer:
        (state / "publisher" / "topics.json").write_text("new")
    while tidy_publisher(state):
        pass
    folder = PublisherFolder()
    told = folder.end_trial(state)
    assert told.endswith(f"; newer messages are in {state / ASIDE}1" if newer else f"back to {state / 'publisher'}")
    assert content_of(state / "publisher") == "old"
    assert [content_of(each) for each in all_aside(state)] == (["new"] if newer else [])
    assert not folder.end_trial(state)
    assert not fail(folder, state, MAX_FAILURES - 1)
    assert "so the supervisor moved its folder" in fail(folder, state, 1)
    assert "keeps the old one" in folder.healthy()
    assert not PublisherFolder().end_trial(state)
    assert content_of(all_aside(state)[-1]) == "old"


def test_a_folder_that_the_operator_moved_ends_the_trial(state: Path) -> None:
    folder = PublisherFolder()
    fail(folder, state)
    (state / ON_TRIAL).rename(state / "mine")
    assert "so the supervisor moved its folder" in fail(folder, state)
    (state / ON_TRIAL).rename(state / "mine, too")
    assert not folder.healthy()
    assert not folder.end_trial(state)


def test_the_end_of_a_trial_that_fails_is_told_and_made_up_for(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(PublisherFolder(), state)

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    folder = PublisherFolder()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        told = folder.end_trial(state)
        assert told.endswith(f"cannot move {state / ON_TRIAL} back to {state / 'publisher'}: Read-only file system")
        assert not folder.healthy()
        assert "the supervisor cannot replace" in fail(folder, state)
    assert "the supervisor moved" in PublisherFolder().end_trial(state)
    assert content_of(state / "publisher") == "old"


class PowerCutError(BaseException):
    """The board stops."""


@pytest.mark.parametrize("calls", range(6))
def test_a_power_cut_between_two_calls_costs_no_message(
    state: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """At its begin, or at its end, after each number of calls that change the disk."""
    left = [calls]

    def cut(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            if not left[0]:
                raise PowerCutError
            done = call(*words, **options)
            left[0] -= 1
            return done

        return counted

    folder = PublisherFolder()
    with monkeypatch.context() as patched, suppress(PowerCutError):
        patched.setattr(Path, "rename", cut(Path.rename))
        patched.setattr(Path, "mkdir", cut(Path.mkdir))
        fail(folder, state)
        (state / "publisher" / "topics.json").write_text("new")
        fail(folder, state)
    (state / "lock").touch()
    make_folders(state)
    PublisherFolder().end_trial(state)
    assert content_of(state / "publisher") == "old"
    assert [content_of(each) for each in all_aside(state)] == (["new"] if calls > 1 else [])
    assert not (state / ON_TRIAL).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_publisher_that_fills_the_disk_does_not_keep_its_folder(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "tmpfs", tmp_path], check=True)
    try:
        (tmp_path / "publisher").mkdir()
        for name in ("topics.json", "outbox.sqlite.corrupt"):
            (tmp_path / "publisher" / name).touch()
        assert "so the supervisor moved its folder" in fail(PublisherFolder(), tmp_path)
        assert [path.name for path in tmp_path.glob("*/*")] == ["topics.json"]
        assert "the supervisor moved" in PublisherFolder().end_trial(tmp_path)
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
        assert not all_aside(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def follow(command: str, state: Path) -> int:
    """Run a command of a remedy, without its ``sudo``, in the state directory; return its exit code."""
    return subprocess.run(["sh", "-c", command.replace("sudo ", "")], cwd=state, check=False).returncode


def command_of(told: str) -> str:
    return told.partition("then: ")[2].partition("; or remove it")[0]


def test_the_remedy_keeps_the_messages_of_both_folders(state: Path) -> None:
    """Also of the folder that is there now, which stays in sight and can be swapped again."""
    folder = PublisherFolder()
    fail(folder, state)
    (state / "publisher" / "topics.json").write_text("new")
    told = folder.healthy()
    for present, aside in (("old", [(2, "new")]), ("new", [(3, "old")])):
        assert not follow(command_of(told), state)
        while tidy_publisher(state):
            pass
        assert content_of(state / "publisher") == present
        paths = all_aside(state)
        assert [(each.name, content_of(each)) for each in paths] == [(f"{ASIDE}{n}", text) for n, text in aside]
        told = remedy(paths[0], paths)
    fail(folder, state)
    assert f" queued messages, as {state / ASIDE}4" in folder.healthy()


def test_the_remedy_of_the_page_is_that_of_the_program(state: Path) -> None:
    (state / f"{ASIDE}1").mkdir()
    page = (Path(__file__).parents[2] / "docs" / "left-behind.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("sudo mv "))
    assert command_of(remedy(state / f"{ASIDE}1", all_aside(state))).replace(f"{state}/", "") == line


def test_the_remedy_fails_if_a_later_folder_has_the_name(state: Path) -> None:
    (state / f"{ASIDE}1").mkdir()
    stale = command_of(remedy(state / f"{ASIDE}1", all_aside(state)))
    (state / f"{ASIDE}2").mkdir()
    (state / f"{ASIDE}2" / "topics.json").write_text("later")
    assert follow(stale, state)
    assert [content_of(state / name) for name in ("publisher", f"{ASIDE}2")] == ["old", "later"]


def test_the_remedy_of_one_folder_costs_no_other(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With as many folders aside as stay, and then with one more, which the end of a trial has put aside."""
    for number in (1, 2):
        (state / f"{ASIDE}{number}").mkdir()
        (state / f"{ASIDE}{number}" / "topics.json").write_text(str(number))
    assert not follow(command_of(remedy(state / f"{ASIDE}1", all_aside(state))), state)
    while tidy_publisher(state):
        pass
    assert content_of(state / "publisher") == "1"
    assert [content_of(each) for each in all_aside(state)] == ["2", "old"]
    fail(PublisherFolder(), state)
    (state / "publisher" / "topics.json").write_text("newest")
    command = command_of(remedy(state / f"{ASIDE}3", all_aside(state)))
    PublisherFolder().end_trial(state)
    assert not follow(command, state)
    assert [content_of(each) for each in (state / "publisher", *all_aside(state))] == ["old", "2", "newest", "1"]
    while tidy_publisher(state):
        pass
    assert [content_of(each) for each in all_aside(state)] == ["newest", "1"]
    assert (
        f"{state / ASIDE}2: old publisher folder removed together with its messages; only the newest 2" in caplog.text
    )


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
    assert publisher_folder._next_aside(state).name == f"{ASIDE}11"


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
