"""Ways past the rules for ports, files and memory: other protocols, programs and namespaces, and planted files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.errors import StartError
from edge_infer.models.serving_record import APPLIED, read_record, remembered
from edge_infer.models.trials.known_results import read_known, read_tried
from edge_infer.plan.records import MqttPlan, Plan, SourcePlan
from edge_infer.platform.folder_tidy import tidy_folder
from edge_infer.sandbox import Fence
from edge_infer.sandbox.needs import config_fence, publisher_fence, reader_fence
from edge_infer.supervisor.statedir import LOCK, locked, make_folders
from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config
from tests.sandbox.locked import ATTEMPT, run

PROTOCOLS = (
    ATTEMPT
    + """
import socket
FAST_OPEN = 0x20000000
def connected_by(send):
    with socket.socket() as end:
        send(end)
for number in (262, 132, 256):  # MPTCP, SCTP, SMC
    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, number).close())
attempt(lambda: connected_by(lambda end: end.sendto(b"x", FAST_OPEN, ("127.0.0.1", 1))))
attempt(lambda: connected_by(lambda end: end.sendmsg([b"x"], [], FAST_OPEN, ("127.0.0.1", 1))))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 6).close())
attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 17).close())
attempt(lambda: socket.socket().listen())
"""
)
PROGRAMS = (
    ATTEMPT
    + """
import os
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
attempt(lambda: os.execv("/nowhere", ["x"]))
attempt(lambda: os.execve(0, ["x"], {}))
attempt(lambda: kernel.call(number["unshare"], 0))
attempt(lambda: kernel.call(number["setns"], -1, 0))
"""
)
REFUSED_AS_USUAL = ("ENOENT", "EACCES")


@pytest.mark.parametrize(
    ("room", "network", "fence"),
    [
        *(("reader", True, fence) for fence in (Fence(), Fence(listens=True), Fence(datagrams=True))),
        *(("publisher", False, fence) for fence in (Fence(), Fence(datagrams=True))),
        ("resolver", False, Fence(datagrams=True)),
    ],
)
def test_no_other_protocol_reaches_a_port(room: str, network: bool, fence: Fence) -> None:
    free = run("", PROTOCOLS).split()
    assert "EPERM" not in free
    assert free[3:] == ["ECONNREFUSED", "ECONNREFUSED", "allowed", "allowed", "allowed"]  # nobody listens there
    found = run(room, PROTOCOLS, network=network, fence=fence).split()
    udp, listens = ("allowed" if each else "EPERM" for each in (fence.datagrams, fence.listens))
    assert found == ["EPERM"] * 5 + ["allowed", udp, listens]


@pytest.mark.parametrize("room", ["engine", "probe", "publisher", "reader"])
def test_it_becomes_no_other_program_and_makes_no_namespace(room: str) -> None:
    program, opened, unshare, setns = run("", PROGRAMS).split()
    assert (program, unshare, setns) == ("ENOENT", "allowed", "EBADF")
    assert opened != "EPERM"
    assert run(room, PROGRAMS).split() == ["EPERM"] * 4


def test_a_microphone_starts_its_sound_service_in_no_namespace() -> None:
    program, _, unshare, setns = run("reader", PROGRAMS, fence=Fence(unix="sound")).split()
    assert program in REFUSED_AS_USUAL
    assert (unshare, setns) == ("EPERM", "EPERM")


def test_programs_of_the_operator_may_do_both() -> None:
    program, _, unshare, setns = run("reader", PROGRAMS, fence=Fence(anywhere=True, unix="programs")).split()
    assert program in REFUSED_AS_USUAL
    assert (unshare, setns) == ("allowed", "EBADF")


def test_of_the_credentials_each_reads_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broker", "front", "back"):
        (tmp_path / name).write_text(f"secret of {name}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    options = {"url": "rtsp://127.0.0.1:8554/cam", "password_file": str(tmp_path / "front")}
    mqtt = MqttPlan("127.0.0.1", 1883, None, "me", str(tmp_path / "broker"), "a/b", 1, "c")
    plan = Plan("0" * 64, "box", str(tmp_path / "state"), mqtt, (), ())
    code = f"{ATTEMPT}\nfor name in ('broker', 'front', 'back'): attempt(lambda: open('{tmp_path}/' + name).close())"
    assert run("", code).split() == ["allowed"] * 3
    camera = reader_fence(SourcePlan("cam", "rtsp", "", True, True, options))
    assert run("reader", code, network=True, fence=camera).split() == ["EACCES", "allowed", "EACCES"]
    assert run("publisher", code, fence=publisher_fence(plan)).split() == ["allowed", "EACCES", "EACCES"]


def test_who_reads_a_configuration_writes_beside_the_records_of_the_daemon(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / LOCK).unlink()
    fence = config_fence(str(tmp_path))
    fence = replace(fence, writes=tuple(each for each in fence.writes if each.startswith(str(tmp_path))))  # not /tmp
    code = f"""{ATTEMPT}
import os
for name in ("lock", "applied.json", "publisher/x", "blobs/x", "trials/x"):
    attempt(lambda: os.mkdir("{tmp_path}/" + name))
"""
    assert run("config", code, fence=fence).split() == ["EACCES"] * 3 + ["allowed"] * 2
    for name in ("blobs/x", "trials/x"):
        (tmp_path / name).rmdir()
    assert run("", code).split() == ["allowed"] * 5


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim, state = tmp_path / "victim", tmp_path / "state"
    victim.write_text("keys")
    make_folders(state)
    (state / LOCK).unlink()
    (state / LOCK).symlink_to(victim)
    with pytest.raises(StartError, match="cannot be used"), locked(state):
        pass
    assert victim.read_text() == "keys"


def test_a_pipe_in_place_of_the_last_plan_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / APPLIED)
    assert remembered(tmp_path) is None


def test_what_is_no_file_of_the_publisher_is_removed(tmp_path: Path) -> None:
    (tmp_path / "topics.json").write_text("{}")
    os.mkfifo(tmp_path / "vocabulary.json")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "closed").touch(mode=0)
    (tmp_path / "more").touch()
    names = ("topics.json", "vocabulary.json", "link.json", "folder", "closed")
    assert not tidy_folder(tmp_path, names, seconds=60)
    assert [each.name for each in tmp_path.iterdir()] == ["topics.json"]
    assert Path("/etc/passwd").exists()


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as listening:
        yield listening


def test_pipes_of_an_earlier_publisher_do_not_keep_the_next_from_the_broker(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    folder = tmp_path / "state" / "publisher"
    folder.mkdir(parents=True)
    (tmp_path / "state" / LOCK).touch()
    names = ("vocabulary.json", "topics.json", "discovery.json", "open-events.json", "outbox.sqlite")
    for name in names:
        os.mkfifo(folder / name)
    with Daemon(tmp_path, config(broker.port)) as daemon:
        subscriber.wait("edge-infer/box/faces/result", deadline=60)
        line = eventually(
            lambda: re.search("publisher: removed 5 entries: .*", daemon.log.read_text()), "line of the log"
        )
    assert all(name in line[0] for name in names)


def test_closed_folders_of_an_earlier_publisher_do_not_keep_the_next_from_its_files(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    """As the publisher cannot open them: the supervisor, whose user owns them, removes them before it starts one."""
    folder = tmp_path / "state" / "publisher"
    names = ("vocabulary.json", "topics.json", "open-events.json", "outbox.sqlite", "outbox.sqlite-wal", "x")
    for name in names:
        (folder / name / "full").mkdir(parents=True)
        (folder / name / "full" / "f").touch()
        (folder / name / "full").chmod(0)
        (folder / name).chmod(0o300)
    (tmp_path / "state" / LOCK).touch()
    with Daemon(tmp_path, config(broker.port)) as daemon:
        subscriber.wait("edge-infer/box/faces/result", deadline=60)
        eventually(lambda: not [path for path in folder.iterdir() if not path.is_file()], "only files", 60.0)
        assert (folder / "outbox.sqlite").is_file()
        assert not re.search("publisher.*cannot be", daemon.log.read_text())


@pytest.mark.parametrize("room", ["engine", "probe", "publisher", "reader", "config"])
def test_it_does_not_watch_folders(room: str, tmp_path: Path) -> None:
    code = f"""{ATTEMPT}
import ctypes
from edge_infer.sandbox import kernel
libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init()
path = ctypes.create_string_buffer({str(tmp_path).encode()!r})
number = kernel.machine().numbers
attempt(lambda: kernel.call(number["inotify_add_watch"], watch, ctypes.addressof(path), 0x100))
attempt(lambda: kernel.call(number["fanotify_init"], 0x200, 0))  # by names of files, without privileges
attempt(lambda: kernel.call(number["fanotify_mark"], -1, 1, 0x100, -100, ctypes.addressof(path)))
"""
    assert run("", code).split() == ["allowed", "allowed", "EBADF"]
    assert run(room, code).split() == ["EPERM"] * 3


@pytest.mark.parametrize("read", [read_tried, read_known, read_record], ids=lambda each: each.__name__)
def test_a_pipe_in_place_of_a_record_holds_nobody_up(read: Callable[[Path], object], tmp_path: Path) -> None:
    make_folders(tmp_path)
    for folder in (tmp_path, tmp_path / "trials"):
        for name in ("tried.json", "equipment.json", "serving.json"):
            os.mkfifo(folder / name)
    assert read(tmp_path) == read(tmp_path / "nowhere")
